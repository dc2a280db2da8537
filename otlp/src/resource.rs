//! Which instance a resource is.

use std::borrow::Cow;

use standoff_protocol::attributes::semconv;

use crate::attributes::Value;
use crate::limits::DISPLAY_ATTRIBUTES_MAX;
use crate::signal::Instance;

/// What identifies a host, if nothing better does, in order of preference. Within a pod or container process ids are
/// small and alike.
const HOSTS: [&str; 5] = ["host.name", "host.id", "container.id", "k8s.pod.uid", "k8s.pod.name"];

/// What resources are named whose service nobody has named.
const UNNAMED: &str = "unknown_service";

/// The attributes of a resource that we read.
#[derive(Debug, Default)]
pub(crate) struct Resource {
    instance: Instance,
    hosts: [String; HOSTS.len()],
    process: String,
}

impl Resource {
    /// Whether an attribute of this name matters.
    pub(crate) fn reads(name: &str) -> bool {
        name.starts_with("k8s.")
            || HOSTS.contains(&name)
            || matches!(
                name,
                "process.pid" | semconv::SERVICE_NAME | semconv::SERVICE_NAMESPACE | semconv::SERVICE_INSTANCE_ID
            )
    }

    /// Adds an attribute. Of several with the same key the last counts that says something.
    pub(crate) fn add(&mut self, name: &str, value: &Value<'_>) {
        let Some(text) = value.text().map(Cow::into_owned) else {
            return;
        };
        if let Some(host) = HOSTS.iter().position(|known| *known == name)
            && let Some(place) = self.hosts.get_mut(host)
        {
            place.clone_from(&text);
        }
        match name {
            semconv::SERVICE_NAME => self.instance.service_name = text,
            semconv::SERVICE_NAMESPACE => self.instance.service_namespace = text,
            semconv::SERVICE_INSTANCE_ID => self.instance.instance_id = text,
            "process.pid" => self.process = text,
            _ if name.starts_with("k8s.") && self.instance.display.len() < DISPLAY_ATTRIBUTES_MAX => {
                self.instance.display.push((name.to_owned(), text));
            }
            _ => {}
        }
    }

    /// The instance that it is.
    pub(crate) fn into_instance(mut self) -> Instance {
        if self.instance.instance_id.is_empty() {
            let host = self.hosts.into_iter().find(|host| !host.is_empty()).unwrap_or_default();
            // As the agent library names an instance without an id.
            self.instance.instance_id = match (host.is_empty(), self.process.is_empty()) {
                (true, true) => String::new(),
                (true, false) => self.process,
                (false, true) => host,
                (false, false) => format!("{host}:{}", self.process),
            };
        }
        self.instance
    }
}

impl Instance {
    /// Whether somebody has said which service it is. What SDKs say on their own does not count.
    pub(crate) fn is_named(&self) -> bool {
        !self.service_name.is_empty() && !self.service_name.starts_with(UNNAMED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(said: &[(&str, &str)]) -> Instance {
        let mut resource = Resource::default();
        for (name, value) in said {
            resource.add(name, &Value::Text((*value).into()));
        }
        resource.into_instance()
    }

    #[test]
    fn the_identity_is_the_resource_s() {
        let read = instance(&[
            ("service.name", "a"),
            ("service.namespace", "shop"),
            ("service.instance.id", "a-1"),
            ("host.name", "h"),
            ("process.pid", "7"),
        ]);
        let expected = ["a", "shop", "a-1"].map(str::to_owned);
        assert_eq!([read.service_name, read.service_namespace, read.instance_id], expected);
    }

    #[test]
    fn without_an_instance_id_it_is_host_and_process() {
        let id = |said| instance(said).instance_id;
        assert_eq!(id(&[("host.name", "h"), ("process.pid", "7")]), "h:7");
        assert_eq!(
            id(&[("k8s.pod.name", "p"), ("container.id", "c"), ("process.pid", "7")]),
            "c:7"
        );
        assert_eq!(id(&[("host.id", "h")]), "h");
        assert_eq!(id(&[("process.pid", "7")]), "7");
        assert_eq!(id(&[]), "");
    }

    #[test]
    fn what_is_for_display_is_bounded() {
        let names: Vec<String> = (0..100).map(|n| format!("k8s.label.{n}")).collect();
        let said: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x")).collect();
        assert_eq!(instance(&said).display.len(), DISPLAY_ATTRIBUTES_MAX);
    }

    #[test]
    fn what_an_sdk_says_on_its_own_is_no_name() {
        assert!(instance(&[("service.name", "a")]).is_named());
        assert!(!instance(&[("service.name", "unknown_service:node")]).is_named());
        assert!(!instance(&[]).is_named());
    }
}

//! Scripts with their verdicts, and the files that have them.

use serde::Deserialize;

use crate::error::ScriptError;
use crate::script::Script;

/// The scenarios of this crate, as a file.
const FILE: &str = include_str!("../scenarios.toml");

/// A wait pattern, and what a detector must say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// Unique in its file; letters, digits and hyphens.
    pub id: String,
    /// In a few words.
    pub title: String,
    /// Why the verdict is what it is.
    pub why: String,
    /// What runs.
    pub script: Script,
    /// What must be found.
    pub verdict: Verdict,
}

/// What a detector must say of a run. Only what lasts for 100 milliseconds or longer counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Quiet,
    /// Deadlocks.
    Deadlocks {
        /// The resources of each core: one deadlock for each of them, and no others. Sorted.
        cores: Vec<Vec<String>>,
        /// Resources of victims. There may be more; `None` if nothing is said of them.
        victims: Option<Vec<String>>,
    },
}

/// What is wrong with a file of scenarios.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// It is not such a file.
    #[error("not a file of scenarios")]
    File(#[source] toml::de::Error),
    /// A script is none.
    #[error("the script of scenario `{id}`")]
    Script {
        /// Of which scenario.
        id: String,
        /// What is wrong.
        #[source]
        error: ScriptError,
    },
    /// A scenario has neither `quiet = true` nor `cores`, or both.
    #[error("scenario `{id}` must have either `quiet = true` or `cores`, and `victims` only with `cores`")]
    Verdict {
        /// Which one.
        id: String,
    },
}

/// The scenarios of this crate.
///
/// # Errors
///
/// None: the file is part of the crate, and a test reads it.
pub fn all() -> Result<Vec<Scenario>, ScenarioError> {
    read(FILE)
}

/// The scenarios of a file like this:
///
/// ```
/// let scenarios = standoff_script::scenarios::read(r#"
///     [[scenario]]
///     id = "self-call"
///     title = "A server that calls itself"
///     why = "With one worker, B waits for B."
///     script = "s: A{B{B}}"
///     cores = [["B"]]
///     victims = ["A"]
///
///     [[scenario]]
///     id = "one-call"
///     script = "s: A"
///     quiet = true
/// "#)?;
/// assert_eq!(scenarios.len(), 2);
/// # Ok::<(), standoff_script::scenarios::ScenarioError>(())
/// ```
///
/// # Errors
///
/// If it is none.
pub fn read(file: &str) -> Result<Vec<Scenario>, ScenarioError> {
    let file: File = toml::from_str(file).map_err(ScenarioError::File)?;
    file.scenario.into_iter().map(Entry::read).collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    scenario: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    why: String,
    script: String,
    #[serde(default)]
    quiet: bool,
    cores: Option<Vec<Vec<String>>>,
    victims: Option<Vec<String>>,
}

impl Entry {
    fn read(self) -> Result<Scenario, ScenarioError> {
        let Self {
            id,
            title,
            why,
            script,
            quiet,
            cores,
            victims,
        } = self;
        let verdict = match (quiet, cores, victims) {
            (true, None, None) => Verdict::Quiet,
            (false, Some(cores), victims) => Verdict::Deadlocks {
                cores: sorted(cores),
                victims,
            },
            _ => return Err(ScenarioError::Verdict { id }),
        };
        match script.parse() {
            Ok(script) => Ok(Scenario {
                id,
                title,
                why,
                script,
                verdict,
            }),
            Err(error) => Err(ScenarioError::Script { id, error }),
        }
    }
}

fn sorted(mut cores: Vec<Vec<String>>) -> Vec<Vec<String>> {
    for core in &mut cores {
        core.sort();
    }
    cores.sort();
    cores
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn all_are_readable_and_say_why() {
        let all = all().unwrap();
        assert!(all.len() > 40);
        assert!(all.iter().all(|it| !it.title.is_empty() && !it.why.is_empty()));
        assert_eq!(all.iter().map(|it| &it.id).collect::<BTreeSet<_>>().len(), all.len());
    }

    #[test]
    fn names_in_verdicts_are_names_in_scripts() {
        for scenario in all().unwrap() {
            let Verdict::Deadlocks { cores, victims } = &scenario.verdict else {
                continue;
            };
            let script = &scenario.script;
            let known: BTreeSet<&str> = script
                .servers()
                .chain(script.pools())
                .map(|(name, _)| &**name)
                .collect();
            for name in cores.iter().flatten().chain(victims.iter().flatten()) {
                assert!(known.contains(name.as_str()), "{}: {name}", scenario.id);
            }
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let error = |entry: &str| read(&format!("[[scenario]]\nid = \"x\"\n{entry}")).unwrap_err();
        assert!(matches!(error("script = \"s: A\""), ScenarioError::Verdict { .. }));
        assert!(matches!(
            error("script = \"s: A\"\nquiet = true\ncores = []"),
            ScenarioError::Verdict { .. }
        ));
        assert!(matches!(
            error("script = \"s: A\"\nquiet = true\nvictims = []"),
            ScenarioError::Verdict { .. }
        ));
        assert!(matches!(
            error("script = \"s A\"\nquiet = true"),
            ScenarioError::Script { .. }
        ));
        assert!(matches!(
            error("script = \"s: A\"\nquite = true"),
            ScenarioError::File(_)
        ));
    }
}

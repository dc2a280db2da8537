//! A relay as the collector sees it: many instances on the channels of one stream.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use std::time::Duration;

use standoff_collector::Collector;
use standoff_protocol::api::{Alert, AlertList, AlertState, Resolution};
use standoff_protocol::stream::wait_stream_client::WaitStreamClient;
use standoff_protocol::stream::{
    Acceptance, Batch, ChannelClosed, FromCollector, FromInstance, FromRelay, Goodbye, Heartbeat, Hello, Instance,
    OpenSet, PROTOCOL_VERSION, Probe, ProbeAnswer, RelayHeartbeat, RelayHello, Role, SPANS_PER_MESSAGE_MAX, Started,
    ToRelay, from_collector, from_instance, from_relay, to_relay,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use tonic::{Code, Streaming};

use support::started;

/// Far more than it takes, far less than for ever.
const PATIENCE: Duration = Duration::from_secs(20);

/// A relay that does what the test says.
struct Relay {
    says: mpsc::Sender<FromRelay>,
    hears: Streaming<ToRelay>,
    probes: Vec<(u64, Probe)>,
}

impl Relay {
    async fn connected(collector: &Collector) -> Self {
        let mut relay = Self::saying(collector, hello(PROTOCOL_VERSION)).await.unwrap();
        let (0, to_relay::Message::Welcome(welcome)) = relay.hear().await.unwrap() else {
            panic!("no welcome")
        };
        assert_eq!(
            (welcome.protocol_version, welcome.heartbeat_ms),
            (PROTOCOL_VERSION, 1000)
        );
        relay
    }

    async fn saying(collector: &Collector, first: FromRelay) -> Result<Self, tonic::Status> {
        let endpoint = Endpoint::from_shared(format!("http://{}", collector.stream())).unwrap();
        let (says, said) = mpsc::channel(64);
        says.send(first).await.unwrap();
        let mut client = WaitStreamClient::new(endpoint.connect().await.unwrap());
        let hears = client.relay(ReceiverStream::new(said)).await?.into_inner();
        Ok(Self {
            says,
            hears,
            probes: Vec::new(),
        })
    }

    async fn say(&self, channel: u64, message: from_relay::Message) {
        let message = FromRelay {
            channel,
            message: Some(message),
        };
        self.says.send(message).await.unwrap();
    }

    async fn instance_says(&self, channel: u64, message: from_instance::Message) {
        let message = FromInstance { message: Some(message) };
        self.say(channel, from_relay::Message::Instance(message)).await;
    }

    /// Begins a channel for an instance that has nothing open.
    async fn opens(&mut self, channel: u64, name: &str) {
        self.instance_says(channel, introduction(name, PROTOCOL_VERSION)).await;
        let (of, message) = self.hear().await.unwrap();
        let to_relay::Message::Collector(FromCollector {
            message: Some(from_collector::Message::Welcome(_)),
        }) = message
        else {
            panic!("no welcome: {message:?}")
        };
        assert_eq!(of, channel);
        let nothing = OpenSet {
            spans: vec![],
            complete: true,
        };
        self.instance_says(channel, from_instance::Message::OpenSet(nothing))
            .await;
    }

    async fn starts(&self, channel: u64, started: Vec<Started>) {
        let batch = Batch {
            sequence: 1,
            started,
            finished: vec![],
            ended: vec![],
        };
        self.instance_says(channel, from_instance::Message::Batch(batch)).await;
    }

    async fn hear(&mut self) -> Result<(u64, to_relay::Message), tonic::Status> {
        let heard = tokio::time::timeout(PATIENCE, self.hears.message())
            .await
            .expect("something is said");
        let heard = heard?.expect("the stream has not ended");
        Ok((heard.channel, heard.message.unwrap()))
    }

    /// Passes on the next probe.
    async fn probed(&mut self) -> (u64, Probe) {
        let (channel, message) = self.hear().await.unwrap();
        let to_relay::Message::Collector(FromCollector {
            message: Some(from_collector::Message::Probe(probe)),
        }) = message
        else {
            panic!("no probe: {message:?}")
        };
        self.probes.push((channel, probe.clone()));
        (channel, probe)
    }

    async fn refused(&mut self) -> (u64, Code, String) {
        let (channel, message) = self.hear().await.unwrap();
        let to_relay::Message::Refused(refused) = message else {
            panic!("no refusal: {message:?}")
        };
        (
            channel,
            Code::from(i32::try_from(refused.code).unwrap()),
            refused.message,
        )
    }

    /// The instance says that all is as the collector believes.
    async fn confirms(&self, channel: u64, probe: &Probe) {
        let never = |it: &standoff_protocol::stream::AcceptanceQuestion| Acceptance {
            call_span_id: it.call_span_id,
            ..Acceptance::default()
        };
        let answer = ProbeAnswer {
            probe_id: probe.probe_id,
            not_open: vec![],
            acceptances: probe.accepted.iter().map(never).collect(),
        };
        self.instance_says(channel, from_instance::Message::ProbeAnswer(answer))
            .await;
    }

    /// The instances on channels 1 and 2 wait for one another.
    async fn deadlocked(&mut self) {
        self.opens(1, "a").await;
        self.opens(2, "b").await;
        self.starts(1, vec![handle(10, 0, "A"), call(11, 10, "B")]).await;
        self.starts(2, vec![handle(20, 0, "B"), call(21, 20, "A")]).await;
    }

    /// The alert, once it fires.
    async fn fires(&mut self, collector: &Collector) -> Alert {
        self.deadlocked().await;
        for _ in 0..2 {
            let (channel, probe) = self.probed().await;
            self.confirms(channel, &probe).await;
        }
        let mut channels: Vec<u64> = self.probes.iter().map(|(channel, _)| *channel).collect();
        channels.sort_unstable();
        assert_eq!(channels, [1, 2], "each is asked on its own channel");
        alert(collector, AlertState::Firing).await
    }
}

fn hello(protocol_version: u32) -> FromRelay {
    let hello = RelayHello {
        protocol_version,
        name: "host-1".into(),
    };
    FromRelay {
        channel: 0,
        message: Some(from_relay::Message::Hello(hello)),
    }
}

fn introduction(name: &str, protocol_version: u32) -> from_instance::Message {
    from_instance::Message::Hello(Hello {
        protocol_version,
        instance: Some(Instance {
            service_name: name.into(),
            instance_id: name.into(),
            incarnation: 1,
            ..Instance::default()
        }),
        lease_ms: 60_000,
        cannot_be_asked: false,
    })
}

fn handle(id: u64, caller: u64, resource: &str) -> Started {
    Started {
        span_id: id,
        parent_span_id: caller,
        parent_is_remote: caller != 0,
        role: Role::Handle.into(),
        resources: vec![resource.into()],
        ..Started::default()
    }
}

fn call(id: u64, parent: u64, target: &str) -> Started {
    Started {
        span_id: id,
        parent_span_id: parent,
        role: Role::Call.into(),
        target: target.into(),
        ..Started::default()
    }
}

async fn alerts(collector: &Collector) -> Vec<Alert> {
    let mut connection = TcpStream::connect(collector.http()).await.unwrap();
    let request = "GET /api/v1/alerts?state=all HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str::<AlertList>(body).unwrap().alerts
}

/// The only alert, once it is in this state.
async fn alert(collector: &Collector, state: AlertState) -> Alert {
    let seen = async {
        loop {
            if let Some(alert) = alerts(collector).await.pop().filter(|it| it.state == state) {
                return alert;
            }
        }
    };
    tokio::time::timeout(PATIENCE, seen)
        .await
        .expect("the alert comes to that")
}

#[tokio::test]
async fn instances_behind_one_relay_deadlock() {
    let collector = started().await;
    let mut relay = Relay::connected(&collector).await;
    let alert = relay.fires(&collector).await;
    assert_eq!(alert.summary, "A → B → A");
    let instances: Vec<&str> = alert.core.iter().map(|task| &*task.instance).collect();
    assert_eq!(instances, ["a", "b"]);
    collector.stop().await;
}

#[tokio::test]
async fn an_instance_that_died_on_the_relay_s_host_is_gone() {
    let collector = started().await;
    let mut relay = Relay::connected(&collector).await;
    relay.fires(&collector).await;
    relay
        .say(2, from_relay::Message::Closed(ChannelClosed { process_died: true }))
        .await;
    let alert = alert(&collector, AlertState::Resolved).await;
    assert_eq!(alert.resolution, Some(Resolution::InstanceLost));
    collector.stop().await;
}

#[tokio::test]
async fn what_an_instance_had_open_that_only_left_its_relay_is_still_believed() {
    let collector = started().await;
    let mut relay = Relay::connected(&collector).await;
    relay.fires(&collector).await;
    relay
        .say(2, from_relay::Message::Closed(ChannelClosed { process_died: false }))
        .await;
    // It comes back on another channel, with all that it had open but the call: only that ends the alert.
    relay.instance_says(3, introduction("b", PROTOCOL_VERSION)).await;
    relay.hear().await.unwrap();
    assert_eq!(alert(&collector, AlertState::Firing).await.resolution, None);
    let spans = vec![handle(20, 0, "B")];
    relay
        .instance_says(3, from_instance::Message::OpenSet(OpenSet { spans, complete: true }))
        .await;
    assert_eq!(
        alert(&collector, AlertState::Resolved).await.resolution,
        Some(Resolution::Finished)
    );
    collector.stop().await;
}

#[tokio::test]
async fn a_goodbye_on_a_channel_ends_that_instance_only() {
    let collector = started().await;
    let mut relay = Relay::connected(&collector).await;
    relay.fires(&collector).await;
    relay
        .instance_says(1, from_instance::Message::Goodbye(Goodbye {}))
        .await;
    alert(&collector, AlertState::Resolved).await;
    // What still comes on its channel does not count, and harms nobody.
    relay.starts(1, vec![handle(10, 0, "A")]).await;
    relay.opens(3, "c").await;
    collector.stop().await;
}

#[tokio::test]
async fn a_relay_that_is_lost_and_comes_back_brings_all_its_instances_with_it() {
    let collector = started().await;
    let mut lost = Relay::connected(&collector).await;
    let before = lost.fires(&collector).await;
    drop(lost);
    let mut relay = Relay::connected(&collector).await;
    let open = [
        (1, "a", vec![handle(10, 0, "A"), call(11, 10, "B")]),
        (2, "b", vec![handle(20, 0, "B"), call(21, 20, "A")]),
    ];
    for (channel, name, spans) in open {
        relay.instance_says(channel, introduction(name, PROTOCOL_VERSION)).await;
        relay.hear().await.unwrap();
        relay
            .instance_says(
                channel,
                from_instance::Message::OpenSet(OpenSet { spans, complete: true }),
            )
            .await;
    }
    relay
        .instance_says(2, from_instance::Message::Heartbeat(Heartbeat::default()))
        .await;
    let after = alert(&collector, AlertState::Firing).await;
    assert_eq!((after.id, after.occurrences), (before.id, 1));
    collector.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_one_channel_ends_that_one_only() {
    let collector = started().await;
    let mut relay = Relay::connected(&collector).await;
    relay.instance_says(1, introduction("", PROTOCOL_VERSION)).await;
    let (channel, code, message) = relay.refused().await;
    assert_eq!((channel, code), (1, Code::InvalidArgument));
    assert!(message.contains("service.instance.id"), "{message}");

    relay.instance_says(2, introduction("old", 99)).await;
    let (channel, code, _) = relay.refused().await;
    assert_eq!((channel, code), (2, Code::FailedPrecondition));

    relay.opens(3, "a").await;
    relay
        .starts(
            3,
            vec![Started {
                role: 99,
                ..call(7, 0, "B")
            }],
        )
        .await;
    let (channel, code, message) = relay.refused().await;
    assert_eq!((channel, code), (3, Code::InvalidArgument));
    assert!(message.contains("0000000000000007"), "{message}");

    // The same instance on a newer channel is the one that counts.
    relay.opens(7, "b").await;
    relay.instance_says(8, introduction("b", PROTOCOL_VERSION)).await;
    let mut said = [relay.hear().await.unwrap(), relay.hear().await.unwrap()];
    said.sort_by_key(|(channel, _)| *channel);
    assert!(matches!(&said[0], (7, to_relay::Message::Refused(it)) if it.code == Code::Aborted as u32));
    assert!(matches!(&said[1], (8, to_relay::Message::Collector(_))));
    collector.stop().await;
}

#[tokio::test]
async fn an_instance_that_answers_no_probes_keeps_nobody_else_s_from_being_asked() {
    let collector = started().await;
    let mut relay = Relay::connected(&collector).await;
    relay.deadlocked().await;
    let mut asked = 0;
    while asked < 3 {
        let (channel, probe) = relay.probed().await;
        asked += u32::from(channel == 1);
        if channel == 2 {
            relay.confirms(channel, &probe).await;
        }
    }
    assert_eq!(relay.probes.iter().filter(|(channel, _)| *channel == 2).count(), 1);
    assert_eq!(alerts(&collector).await[0].state, AlertState::Suspected);
    collector.stop().await;
}

#[tokio::test]
async fn a_relay_that_breaks_the_protocol_is_told_so() {
    let collector = started().await;
    let instance = |channel, message| FromRelay {
        channel,
        message: Some(from_relay::Message::Instance(FromInstance { message: Some(message) })),
    };
    let closed = from_relay::Message::Closed(ChannelClosed::default());
    let heartbeat = from_relay::Message::Heartbeat(RelayHeartbeat::default());
    let cases = [
        instance(0, introduction("a", PROTOCOL_VERSION)),
        instance(1, from_instance::Message::Goodbye(Goodbye {})),
        FromRelay {
            channel: 1,
            message: Some(closed),
        },
        FromRelay {
            channel: 1,
            message: Some(heartbeat),
        },
        FromRelay {
            channel: 1,
            ..hello(PROTOCOL_VERSION)
        },
        instance(1, too_many_spans()),
    ];
    for case in cases {
        let mut relay = Relay::connected(&collector).await;
        relay.says.send(case.clone()).await.unwrap();
        let status = relay.hear().await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{case:?}: {status}");
    }
    // A number that was used before is not used again, whatever became of it.
    let mut relay = Relay::connected(&collector).await;
    relay.opens(2, "a").await;
    relay
        .say(2, from_relay::Message::Closed(ChannelClosed::default()))
        .await;
    relay.instance_says(2, introduction("b", PROTOCOL_VERSION)).await;
    assert_eq!(relay.hear().await.unwrap_err().code(), Code::InvalidArgument);
    collector.stop().await;
}

fn too_many_spans() -> from_instance::Message {
    from_instance::Message::OpenSet(OpenSet {
        spans: vec![Started::default(); SPANS_PER_MESSAGE_MAX + 1],
        complete: true,
    })
}

#[tokio::test]
async fn an_instance_whose_messages_are_not_read_hears_why() {
    let collector = started().await;
    let endpoint = Endpoint::from_shared(format!("http://{}", collector.stream())).unwrap();
    let (says, said) = mpsc::channel(2);
    for message in [introduction("a", PROTOCOL_VERSION), too_many_spans()] {
        says.send(FromInstance { message: Some(message) }).await.unwrap();
    }
    let mut client = WaitStreamClient::new(endpoint.connect().await.unwrap());
    let mut hears = client.connect(ReceiverStream::new(said)).await.unwrap().into_inner();
    hears.message().await.unwrap().expect("a welcome");
    let status = hears.message().await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::InvalidArgument, "the message has more than 512 spans")
    );
    collector.stop().await;
}

#[tokio::test]
async fn a_relay_has_to_introduce_itself() {
    let collector = started().await;
    let first = FromRelay {
        channel: 0,
        message: Some(from_relay::Message::Heartbeat(RelayHeartbeat::default())),
    };
    let refused = Relay::saying(&collector, first).await.err().unwrap();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let refused = Relay::saying(&collector, hello(99)).await.err().unwrap();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    collector.stop().await;
}

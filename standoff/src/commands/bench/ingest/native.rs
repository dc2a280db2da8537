//! The native stream under load: instances that say as much as the collector takes.
//!
//! Nothing is refused on a stream; a collector that has enough to do takes no more for a while. What was sent has been
//! taken once the instance has said goodbye and the collector has closed the stream.

use std::time::Duration;

use anyhow::{Context, bail};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use standoff_protocol::stream::wait_stream_client::WaitStreamClient;
use standoff_protocol::stream::{
    Batch, Ended, Finished, FromCollector, FromInstance, Goodbye, Hello, Instance, OpenSet, Outcome, PROTOCOL_VERSION,
    Role, Started, from_instance,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Endpoint;

use super::ids::{Id, Number, Numbers};
use super::load::{End, Sent};
use super::requests::{Place, Shape};

/// Messages that wait to be sent: as many as the relay lets wait.
const QUEUE: usize = 16;

/// How long the collector may take to take what is on its way when all is said.
const CLOSE_WITHIN: Duration = Duration::from_secs(30);

/// An instance that is connected.
pub(super) struct Connection {
    messages: mpsc::Sender<FromInstance>,
    answers: Streaming<FromCollector>,
    numbers: Numbers,
}

impl Connection {
    /// Connects, and says that nothing is open.
    pub(super) async fn open(url: &str, number: u32, shape: Shape) -> anyhow::Result<Self> {
        let channel = Endpoint::from_shared(url.to_owned())?.connect().await?;
        let (messages, outgoing) = mpsc::channel(QUEUE);
        let numbers = Numbers::new(u64::from(shape.spans));
        let hello = Hello {
            protocol_version: PROTOCOL_VERSION,
            instance: Some(Instance {
                service_name: "bench".into(),
                instance_id: format!("bench-{number}"),
                incarnation: numbers.take(),
                ..Instance::default()
            }),
            // Only such instances tell of spans that they have not said to be open.
            cannot_be_asked: !shape.ordinary().is_empty(),
            ..Hello::default()
        };
        let nothing = OpenSet {
            spans: Vec::new(),
            complete: true,
        };
        for message in [
            from_instance::Message::Hello(hello),
            from_instance::Message::OpenSet(nothing),
        ] {
            messages.send(FromInstance { message: Some(message) }).await?;
        }
        let stream = WaitStreamClient::new(channel)
            .connect(ReceiverStream::new(outgoing))
            .await?;
        let mut answers = stream.into_inner();
        answers.message().await?.context("the collector says no welcome")?;
        Ok(Connection {
            messages,
            answers,
            numbers,
        })
    }

    pub(super) async fn send(mut self, shape: Shape, end: &End) -> anyhow::Result<Sent> {
        // What it asks does not matter: the spans are not there to be asked about.
        let mut closed = tokio::spawn(async move {
            while self.answers.message().await?.is_some() {}
            anyhow::Ok(())
        });
        let mut sent = Sent::default();
        let mut previous = self.numbers.take();
        let mut sequence = 0;
        while end.goes_on(shape.spans) {
            let this = self.numbers.take();
            sequence += 1;
            let message = from_instance::Message::Batch(batch(shape, sequence, this, previous));
            previous = this;
            if self
                .messages
                .send(FromInstance { message: Some(message) })
                .await
                .is_err()
            {
                closed.await??;
                bail!("the collector has closed the stream");
            }
            sent.accepted += u64::from(shape.spans);
        }
        let goodbye = from_instance::Message::Goodbye(Goodbye {});
        self.messages.send(FromInstance { message: Some(goodbye) }).await?;
        drop(self.messages);
        tokio::time::timeout(CLOSE_WITHIN, &mut closed)
            .await
            .context("the collector does not take leave")???;
        Ok(sent)
    }
}

/// What would be said of the spans of a request.
fn batch(shape: Shape, sequence: u64, this: u64, previous: u64) -> Batch {
    let value = |id: Id| id.value(this, previous);
    let ordinary = shape.ordinary().map(|index| {
        let place = Place::of(shape, index);
        Ended {
            span_id: value(Id::Span(place.number)),
            parent_span_id: value(place.above),
            parent_is_remote: place.is_remote(),
            role: match place.kind {
                SpanKind::Client => Role::Call,
                SpanKind::Server | SpanKind::Consumer => Role::Handle,
                SpanKind::Producer | SpanKind::Internal | SpanKind::Unspecified => Role::Structural,
            }
            .into(),
            conversation_id: String::new(),
        }
    });
    let started = (0..shape.open).map(|index| Started {
        span_id: value(Id::Span(Number::This(index))),
        trace_id: value(Id::Trace(Number::This(index))).to_be_bytes().repeat(2),
        parent_span_id: value(Id::Caller(Number::This(index))),
        role: Role::Call.into(),
        name: "POST /api/v1/orders".to_owned(),
        target: "orders.shop.example".to_owned(),
        ..Started::default()
    });
    let finished = (0..shape.open).map(|index| Finished {
        span_id: value(Id::Span(Number::Previous(index))),
        outcome: Outcome::Finished.into(),
    });
    Batch {
        sequence,
        started: started.collect(),
        finished: finished.collect(),
        ended: ordinary.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_ends_what_the_one_before_has_started() {
        let shape = Shape {
            spans: 10,
            open: 2,
            attributes: 0,
        };
        let (first, second) = (batch(shape, 1, 10, 0), batch(shape, 2, 20, 10));
        let started: Vec<u64> = first.started.iter().map(|it| it.span_id).collect();
        let finished: Vec<u64> = second.finished.iter().map(|it| it.span_id).collect();
        assert_eq!(started, finished);
        assert_eq!((first.ended.len(), second.sequence), (6, 2));
        standoff_protocol::stream::check_spans(&first.started).unwrap();
    }
}

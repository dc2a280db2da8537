//! Reading messages without being made to take more memory for them than they are worth.
//!
//! Two bytes are enough to say that a list has one more element, and the element may take hundreds of bytes once it is
//! decoded. So the lists of a message are counted before anything is decoded, and a message with longer ones than the
//! protocol allows is refused. What is left takes at most [`DECODED_BYTES_MAX`] and three times its own length: texts are
//! as long as they were, and a list of numbers takes what its growth leaves over.

use std::marker::PhantomData;

use prost::Message;
use prost::bytes::Buf as _;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic_prost::{ProstCodec, ProstEncoder};

use super::shape::{self, Unreadable};
use super::{FromCollector, FromInstance, FromRelay, ToRelay};

/// What the lists of any message that is not refused take at most, beside texts and numbers: 512 spans, 16,384 of their
/// resources, and as many finishes; and as much again for what is copied while they grow.
pub const DECODED_BYTES_MAX: usize = 3 << 20;

/// A message that can be read from a stream.
pub trait Readable: Message + Default + 'static {
    /// Where its lists are.
    #[doc(hidden)]
    const SHAPE: &'static shape::Shape;
}

impl Readable for FromInstance {
    const SHAPE: &'static shape::Shape = &shape::FROM_INSTANCE;
}

impl Readable for FromRelay {
    const SHAPE: &'static shape::Shape = &shape::FROM_RELAY;
}

impl Readable for FromCollector {
    const SHAPE: &'static shape::Shape = &shape::FROM_COLLECTOR;
}

impl Readable for ToRelay {
    const SHAPE: &'static shape::Shape = &shape::TO_RELAY;
}

/// Reads a message.
///
/// # Errors
///
/// If the bytes are none, or one with longer lists than the protocol allows.
pub fn read<M: Readable>(bytes: &[u8]) -> Result<M, Unreadable> {
    shape::check(bytes, M::SHAPE)?;
    M::decode(bytes).map_err(|error| Unreadable::Malformed(error.to_string()))
}

/// The codec of the stream: protobuf, with lists counted before they are read.
#[derive(Clone, Copy, Debug)]
pub struct Counted<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Counted<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for Counted<T, U>
where
    T: Message + Send + 'static,
    U: Readable + Send,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = CountedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::default().encoder()
    }

    fn decoder(&mut self) -> Self::Decoder {
        CountedDecoder(PhantomData)
    }
}

/// Reads messages as [`read`] does.
#[derive(Clone, Copy, Debug)]
pub struct CountedDecoder<U>(PhantomData<U>);

impl<U: Readable> Decoder for CountedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // Takes them out of the buffer without a copy.
        let bytes = bytes.copy_to_bytes(bytes.remaining());
        let message = read(&bytes).map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        Acceptance, AcceptanceQuestion, Batch, ENDED_PER_MESSAGE_MAX, Ended, Finished, Heartbeat, Loss, OpenSet, Probe,
        ProbeAnswer, RESOURCES_PER_SPAN_MAX, SPANS_PER_MESSAGE_MAX, Started, from_collector, from_instance, from_relay,
        to_relay,
    };
    use super::shape::REPEATED_MAX;
    use super::*;

    fn instance(message: from_instance::Message) -> FromInstance {
        FromInstance { message: Some(message) }
    }

    /// Reads it, as it is and as a relay passes it on.
    fn reads(message: from_instance::Message) -> Result<(), Unreadable> {
        let message = instance(message);
        let relayed = FromRelay {
            channel: 7,
            message: Some(from_relay::Message::Instance(message.clone())),
        };
        let direct = read::<FromInstance>(&message.encode_to_vec()).map(|it| assert_eq!(it, message));
        let by_relay = read::<FromRelay>(&relayed.encode_to_vec()).map(|it| assert_eq!(it, relayed));
        assert_eq!(direct, by_relay);
        direct
    }

    fn open_set(spans: Vec<Started>) -> from_instance::Message {
        from_instance::Message::OpenSet(OpenSet { spans, complete: true })
    }

    #[test]
    fn lists_as_long_as_the_protocol_allows_are_read_and_longer_ones_refused() {
        let resources = vec!["r".to_owned(); RESOURCES_PER_SPAN_MAX];
        let full = Started {
            span_id: 1,
            resources,
            ..Started::default()
        };
        let spans = |count: usize| vec![full.clone(); count];
        assert_eq!(reads(open_set(spans(SPANS_PER_MESSAGE_MAX))), Ok(()));
        let too_many = Unreadable::TooMany {
            what: "spans",
            most: SPANS_PER_MESSAGE_MAX,
        };
        assert_eq!(reads(open_set(spans(SPANS_PER_MESSAGE_MAX + 1))), Err(too_many.clone()));
        let batch = |started: usize, finished: usize| {
            from_instance::Message::Batch(Batch {
                sequence: 1,
                started: spans(started),
                finished: vec![Finished::default(); finished],
                ended: Vec::new(),
            })
        };
        let ended = |count: usize| {
            from_instance::Message::Batch(Batch {
                ended: vec![Ended::default(); count],
                ..Batch::default()
            })
        };
        assert_eq!(reads(ended(ENDED_PER_MESSAGE_MAX)), Ok(()));
        let too_many_ended = Unreadable::TooMany {
            what: "ended spans",
            most: ENDED_PER_MESSAGE_MAX,
        };
        assert_eq!(reads(ended(ENDED_PER_MESSAGE_MAX + 1)), Err(too_many_ended));
        assert_eq!(reads(batch(SPANS_PER_MESSAGE_MAX, REPEATED_MAX)), Ok(()));
        assert_eq!(reads(batch(SPANS_PER_MESSAGE_MAX + 1, 0)), Err(too_many));
        let refused = |what| {
            Err(Unreadable::TooMany {
                what,
                most: REPEATED_MAX,
            })
        };
        assert_eq!(reads(batch(0, REPEATED_MAX + 1)), refused("finishes"));
        let greedy = Started {
            resources: vec![String::new(); REPEATED_MAX + 1],
            ..Started::default()
        };
        assert_eq!(reads(open_set(vec![greedy])), refused("resources"));
        let answer = |acceptances| {
            from_instance::Message::ProbeAnswer(ProbeAnswer {
                probe_id: 1,
                not_open: vec![1, 2],
                acceptances: vec![Acceptance::default(); acceptances],
            })
        };
        assert_eq!(reads(answer(REPEATED_MAX)), Ok(()));
        assert_eq!(reads(answer(REPEATED_MAX + 1)), refused("acceptances"));
        let losses = |count| {
            from_instance::Message::Heartbeat(Heartbeat {
                events_lost: 1,
                losses: vec![Loss::default(); count],
            })
        };
        assert_eq!(reads(losses(REPEATED_MAX)), Ok(()));
        assert_eq!(reads(losses(REPEATED_MAX + 1)), refused("losses"));
    }

    #[test]
    fn what_a_collector_says_is_counted_too() {
        let probe = |questions| {
            let accepted = vec![
                AcceptanceQuestion {
                    span_ids: vec![1],
                    ..Default::default()
                };
                questions
            ];
            let probe = from_collector::Message::Probe(Probe {
                probe_id: 1,
                still_open: vec![2],
                accepted,
            });
            FromCollector { message: Some(probe) }
        };
        for (questions, is_read) in [(REPEATED_MAX, true), (REPEATED_MAX + 1, false)] {
            let message = probe(questions);
            assert_eq!(read::<FromCollector>(&message.encode_to_vec()).is_ok(), is_read);
            let to_relay = ToRelay {
                channel: 1,
                message: Some(to_relay::Message::Collector(message)),
            };
            assert_eq!(read::<ToRelay>(&to_relay.encode_to_vec()).is_ok(), is_read);
        }
    }

    #[test]
    fn lists_are_counted_over_all_their_parts() {
        // The same field again adds to the list, and the other one empties it: all of them count.
        let part = instance(open_set(vec![Started::default(); 300])).encode_to_vec();
        let other = instance(from_instance::Message::Goodbye(super::super::Goodbye {})).encode_to_vec();
        assert!(read::<FromInstance>(&part).is_ok());
        assert!(read::<FromInstance>(&[&*part, &other, &part].concat()).is_err());
    }

    #[test]
    fn bytes_that_are_no_message_are_an_error() {
        let cases: [&[u8]; 7] = [
            // A length beyond the end, a number that does not end, a key without a value, field 0.
            &[0x12, 0x05, 0x00],
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            &[0x09, 0x01],
            &[0x00, 0x00],
            // A group, which this protocol has none of; an unknown kind; a key that is too large.
            &[0x73, 0x74],
            &[0x0f],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0x00],
        ];
        for case in cases {
            assert!(
                matches!(read::<FromInstance>(case), Err(Unreadable::Malformed(_))),
                "{case:?}"
            );
        }
        // Fields of a later version are none of our business.
        assert_eq!(
            read::<FromInstance>(&[0xfa, 0x01, 0x02, 0x08, 0x01]).unwrap(),
            FromInstance::default()
        );
    }

    #[test]
    fn what_is_refused_says_why() {
        let error = Unreadable::TooMany {
            what: "spans",
            most: 512,
        };
        assert_eq!(error.to_string(), "the message has more than 512 spans");
    }

    #[test]
    fn the_most_that_lists_take_is_what_is_said() {
        let spans = SPANS_PER_MESSAGE_MAX * size_of::<Started>();
        let others = REPEATED_MAX * (size_of::<String>() + size_of::<Finished>());
        let asked = REPEATED_MAX * size_of::<AcceptanceQuestion>();
        // A list that grows is copied, each time to twice the room.
        assert!(
            2 * (spans + others).max(asked) <= DECODED_BYTES_MAX,
            "{spans} {others} {asked}"
        );
    }
}

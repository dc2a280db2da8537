//! Reading protobuf without copying and without a schema.
//!
//! A [`Fields`] goes through one message and yields what it finds; nested messages are slices that are read, or skipped,
//! by whoever knows what they are. Nothing is recursive.

/// How deep groups may be nested, as in the reference implementation. Nobody has sent one for years.
const GROUP_DEPTH_MAX: usize = 100;

/// Bytes that are no protobuf message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The message ends within a field.
    #[error("the message ends within a field")]
    Truncated,
    /// A number has more than ten bytes or 64 bits.
    #[error("a number is longer than 64 bits")]
    Number,
    /// A field has number 0 or one that is too large, or a wire type that does not exist.
    #[error("a field has a number or wire type that does not exist")]
    Tag,
    /// A field of a known number is not of the type that it should have.
    #[error("field {0} has another type than it should have")]
    Type(u32),
    /// Groups are nested too deeply, or end where none has begun.
    #[error("groups are nested too deeply or do not match")]
    Group,
}

/// The value of one field.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    Number(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

impl<'a> Value<'a> {
    #[inline]
    pub(crate) fn bytes(self, field: u32) -> Result<&'a [u8], WireError> {
        if let Value::Bytes(bytes) = self {
            Ok(bytes)
        } else {
            Err(WireError::Type(field))
        }
    }

    #[inline]
    pub(crate) fn number(self, field: u32) -> Result<u64, WireError> {
        if let Value::Number(number) = self {
            Ok(number)
        } else {
            Err(WireError::Type(field))
        }
    }

    /// A 32-bit number, as an enum is. Bits beyond are cut, which is what protobuf asks for.
    #[inline]
    pub(crate) fn int32(self, field: u32) -> Result<i32, WireError> {
        self.number(field).map(|number| number as i32)
    }

    #[inline]
    pub(crate) fn fixed64(self, field: u32) -> Result<u64, WireError> {
        if let Value::Fixed64(number) = self {
            Ok(number)
        } else {
            Err(WireError::Type(field))
        }
    }

    #[inline]
    pub(crate) fn fixed32(self, field: u32) -> Result<u32, WireError> {
        if let Value::Fixed32(number) = self {
            Ok(number)
        } else {
            Err(WireError::Type(field))
        }
    }
}

/// The fields of one message, in the order in which they were written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    #[inline]
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Fields { rest: message }
    }

    /// The next field and its number; `None` at the end of the message. Groups are passed over.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, WireError> {
        loop {
            if self.rest.is_empty() {
                return Ok(None);
            }
            let (number, wire_type) = self.tag()?;
            let value = match wire_type {
                0 => Value::Number(self.varint()?),
                1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
                2 => Value::Bytes(self.delimited()?),
                3 => {
                    self.skip_group(number)?;
                    continue;
                }
                4 => return Err(WireError::Group),
                _ => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            };
            return Ok(Some((number, value)));
        }
    }

    /// A field's number, and its wire type, which is one that exists.
    #[inline]
    fn tag(&mut self) -> Result<(u32, u8), WireError> {
        let tag = u32::try_from(self.varint()?).map_err(|_| WireError::Tag)?;
        let wire_type = (tag & 7) as u8;
        if tag >> 3 == 0 || wire_type > 5 {
            return Err(WireError::Tag);
        }
        Ok((tag >> 3, wire_type))
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, WireError> {
        match self.rest {
            [byte, rest @ ..] if *byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            [low, high, rest @ ..] if *high < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*low & 0x7f) | u64::from(*high) << 7)
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, WireError> {
        let mut number = 0;
        for (index, byte) in self.rest.iter().enumerate().take(10) {
            // Nine bytes carry 63 bits; one is left for the tenth.
            if index == 9 && *byte > 1 {
                return Err(WireError::Number);
            }
            number |= u64::from(*byte & 0x7f) << (7 * index);
            if *byte < 0x80 {
                self.rest = self.rest.get(index + 1..).unwrap_or_default();
                return Ok(number);
            }
        }
        Err(if self.rest.len() < 10 {
            WireError::Truncated
        } else {
            WireError::Number
        })
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(*array)
    }

    #[inline]
    fn delimited(&mut self) -> Result<&'a [u8], WireError> {
        let len = usize::try_from(self.varint()?).map_err(|_| WireError::Truncated)?;
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    #[cold]
    fn skip_group(&mut self, number: u32) -> Result<(), WireError> {
        let mut open = vec![number];
        while let Some(innermost) = open.last().copied() {
            let (number, wire_type) = self.tag()?;
            match wire_type {
                0 => drop(self.varint()?),
                1 => drop(self.array::<8>()?),
                2 => drop(self.delimited()?),
                3 if open.len() == GROUP_DEPTH_MAX => return Err(WireError::Group),
                3 => open.push(number),
                4 if number == innermost => drop(open.pop()),
                4 => return Err(WireError::Group),
                _ => drop(self.array::<4>()?),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(message: &[u8]) -> Result<Vec<u32>, WireError> {
        let mut fields = Fields::new(message);
        let mut numbers = Vec::new();
        while let Some((number, _)) = fields.next()? {
            numbers.push(number);
        }
        Ok(numbers)
    }

    #[test]
    fn every_wire_type_is_read() {
        let message = [
            0x08, 0x96, 0x01, 0x11, 1, 0, 0, 0, 0, 0, 0, 0, 0x1a, 2, b'h', b'i', 0x25, 2, 0, 0, 0,
        ];
        let mut fields = Fields::new(&message);
        let mut next = || fields.next().unwrap().unwrap().1;
        assert_eq!(next().number(1), Ok(150));
        assert_eq!(next().fixed64(2), Ok(1));
        assert_eq!(next().bytes(3), Ok(&b"hi"[..]));
        assert_eq!(next().fixed32(4), Ok(2));
        assert!(fields.next().unwrap().is_none());
    }

    #[test]
    fn groups_are_passed_over() {
        assert_eq!(numbers(&[0x0b, 0x13, 0x08, 0x01, 0x14, 0x0c, 0x10, 0x00]), Ok(vec![2]));
        assert_eq!(numbers(&[0x0b, 0x14]), Err(WireError::Group), "another one ends");
        assert_eq!(numbers(&[0x0c]), Err(WireError::Group), "none has begun");
        assert_eq!(numbers(&[0x0b; 101]), Err(WireError::Group), "too deep");
        assert_eq!(numbers(&[0x0b; 100]), Err(WireError::Truncated));
    }

    #[test]
    fn what_is_no_message_is_named() {
        assert_eq!(numbers(&[0x0a, 5, 1]), Err(WireError::Truncated));
        assert_eq!(numbers(&[0x08]), Err(WireError::Truncated));
        assert_eq!(numbers(&[0x09, 0, 0]), Err(WireError::Truncated));
        assert_eq!(numbers(&[0x00, 0]), Err(WireError::Tag), "number 0");
        assert_eq!(numbers(&[0x0e, 0]), Err(WireError::Tag), "wire type 6");
        let mut number = vec![0x08];
        number.extend([0xff; 9]);
        assert_eq!(numbers(&[&number[..], &[0x01]].concat()), Ok(vec![1]), "all 64 bits");
        assert_eq!(numbers(&[&number[..], &[0x02]].concat()), Err(WireError::Number));
    }
}

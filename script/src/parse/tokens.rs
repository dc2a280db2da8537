//! Words and signs of a script, one after the other.

use std::fmt::{Display, Formatter, Result};
use std::ops::Range;

use crate::error::printable;

/// How much of a word is repeated in an error, in characters.
const SHOWN_MAX: usize = 30;

/// The next word or sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind<'a>,
    /// In bytes of the script.
    pub(crate) part: Range<usize>,
}

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind<'a> {
    /// Letters, digits and underscores: a name or a number.
    Word(&'a str),
    /// `||`.
    BarBar,
    /// Any other sign, whether scripts have it or not.
    Sign(char),
    /// Nothing more.
    End,
}

impl Kind<'_> {
    /// Where a sign belongs that people put in other places; empty if there is nothing to say.
    pub(crate) fn place(&self) -> &'static str {
        match self {
            Self::Sign(',') => "only calls that run concurrently are separated by commas, as in `&(A, B)`",
            Self::Sign('{') => "braces follow the name of a server, and say what it does",
            Self::Sign('[') => "a capacity follows a name at once, as in `A[2]`",
            Self::Sign('@') => "a timeout follows a call, as in `A@100` or `A{B}@100`",
            Self::Sign('*') => "only clients have copies, as in `x*3: A`",
            Self::Sign('=') => "a client is written `x: A`",
            Self::Sign(_) | Self::Word(_) | Self::BarBar | Self::End => "",
        }
    }
}

impl Display for Kind<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Word(word) if word.chars().count() > SHOWN_MAX => {
                write!(f, "`{}…`", printable(word.chars().take(SHOWN_MAX)))
            }
            Self::Word(word) => write!(f, "`{}`", printable(word.chars())),
            Self::BarBar => f.write_str("`||`"),
            Self::Sign(sign) => write!(f, "`{}`", printable(std::iter::once(*sign))),
            Self::End => f.write_str("the end of the script"),
        }
    }
}

/// The token that begins at or after an offset, and spaces before it skipped.
pub(crate) fn next(script: &str, offset: usize) -> Token<'_> {
    let rest = script[offset..].trim_start();
    let start = script.len() - rest.len();
    let token = |kind, length| Token {
        kind,
        part: start..start + length,
    };
    let is_word = |it: char| it.is_alphanumeric() || it == '_';
    let word_length = rest.find(|it| !is_word(it)).unwrap_or(rest.len());
    if word_length > 0 {
        return token(Kind::Word(&rest[..word_length]), word_length);
    }
    if rest.starts_with("||") {
        return token(Kind::BarBar, 2);
    }
    match rest.chars().next() {
        Some(sign) => token(Kind::Sign(sign), sign.len_utf8()),
        None => token(Kind::End, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(script: &str) -> Vec<String> {
        let mut offset = 0;
        let mut all = Vec::new();
        loop {
            let token = next(script, offset);
            if token.kind == Kind::End {
                return all;
            }
            offset = token.part.end;
            all.push(token.kind.to_string());
        }
    }

    #[test]
    fn words_and_signs() {
        assert_eq!(
            tokens(" x_1*2:\n|(Ä)||~5 "),
            "`x_1` `*` `2` `:` `|` `(` `Ä` `)` `||` `~` `5`"
                .split(' ')
                .collect::<Vec<_>>()
        );
    }

    #[test]
    fn what_would_move_the_cursor_is_not_repeated() {
        assert_eq!(tokens("\u{1b}\u{202e}"), ["`\u{fffd}`", "`\u{fffd}`"]);
    }
}

//! Reads scripts. One look ahead decides everything, so each rule of the grammar is a function here:
//!
//! ```text
//! script := client ('||' client)*
//! client := NAME ['*' N] ['+' MS] ':' steps
//! steps  := step (';' step)*
//! step   := '~' MS | call | '&' calls | '|' calls | K '/' calls | NAME '+' | NAME '-' | '!'
//! calls  := '(' call (',' call)* ')'
//! call   := NAME ['{' steps '}'] ['@' MS]
//! NAME   := letters, digits, '_', optionally '[' CAPACITY ']'
//! ```
//!
//! Spaces and line breaks may stand anywhere between words and signs. It recurses once for each brace within a brace,
//! of which there are no more than [`DEPTH_MAX`].

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use crate::error::{ErrorKind, NameUse, ScriptError, capacity_max, time_max_ms};
use crate::limits::{CALLS_MAX, CLIENTS_MAX, DEPTH_MAX, NAME_LENGTH_MAX, SCRIPT_LENGTH_MAX};
use crate::script::{Call, Client, Name, Needed, Script, Step};

mod names;
mod tokens;

use names::{Mention, Names};
use tokens::{Kind, Token};

type Result<T> = std::result::Result<T, ScriptError>;

impl FromStr for Script {
    type Err = ScriptError;

    fn from_str(text: &str) -> Result<Self> {
        let mut parser = Parser {
            text,
            offset: 0,
            names: Names::default(),
            depth: 0,
            calls: 0,
        };
        if text.len() > SCRIPT_LENGTH_MAX {
            let start = text.floor_char_boundary(SCRIPT_LENGTH_MAX);
            return Err(ScriptError::new(ErrorKind::TooLong, text, start..start));
        }
        let clients = parser.script()?;
        let (servers, pools) = parser.names.into_resources();
        Ok(Self {
            clients,
            servers,
            pools,
        })
    }
}

struct Parser<'a> {
    text: &'a str,
    /// Everything before it is read.
    offset: usize,
    names: Names,
    /// Braces that are open.
    depth: usize,
    /// Calls of the current client so far.
    calls: u64,
}

/// Whose steps are read.
struct Actor {
    kind: ActorKind,
    /// How many more units of each pool it has taken than released.
    taken: BTreeMap<Name, usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ActorKind {
    Client,
    Server,
}

impl Actor {
    fn new(kind: ActorKind) -> Self {
        Self {
            kind,
            taken: BTreeMap::new(),
        }
    }

    /// What may stand after a step of it.
    fn expected_after_step(&self) -> &'static str {
        match self.kind {
            ActorKind::Client => "`;`, `||` or the end of the script",
            ActorKind::Server => "`;` or `}`",
        }
    }
}

impl<'a> Parser<'a> {
    fn script(&mut self) -> Result<Vec<Client>> {
        let (mut clients, mut copies, mut calls) = (Vec::new(), 0u64, 0u64);
        loop {
            let start = self.peek();
            let client = self.client()?;
            copies = copies.saturating_add(u64::from(client.copies));
            calls = calls.saturating_add(self.calls.saturating_mul(u64::from(client.copies)));
            self.calls = 0;
            if copies > CLIENTS_MAX {
                return self.error(ErrorKind::TooManyClients, &start);
            }
            if calls > CALLS_MAX {
                return self.error(ErrorKind::TooManyCalls, &start);
            }
            clients.push(client);
            let next = self.bump();
            match next.kind {
                Kind::BarBar => {}
                Kind::End => return Ok(clients),
                Kind::Word(_) | Kind::Sign(_) => {
                    return self.unexpected(Actor::new(ActorKind::Client).expected_after_step(), &next);
                }
            }
        }
    }

    fn client(&mut self) -> Result<Client> {
        let mention = self.name("the name of a client")?;
        if let Some((_, part)) = mention.capacity {
            return Err(ScriptError::new(ErrorKind::CapacityOfClient, self.text, part));
        }
        let copies = if self.eat('*') {
            self.number("the number of clients", 1, CLIENTS_MAX)?
        } else {
            1
        };
        let late = if self.eat('+') { self.time()? } else { Duration::ZERO };
        self.expect(':', "`:`")?;
        let steps = self.steps(&mut Actor::new(ActorKind::Client))?;
        Ok(Client {
            name: mention.name.into(),
            copies,
            late,
            steps,
        })
    }

    fn steps(&mut self, actor: &mut Actor) -> Result<Vec<Step>> {
        let mut steps = vec![self.step(actor)?];
        while self.eat(';') {
            steps.push(self.step(actor)?);
        }
        Ok(steps)
    }

    fn step(&mut self, actor: &mut Actor) -> Result<Step> {
        let next = self.peek();
        match next.kind {
            Kind::Sign('~') => {
                self.bump();
                Ok(Step::Busy(self.time()?))
            }
            Kind::Sign('!') if actor.kind == ActorKind::Client => self.error(ErrorKind::CrashInClient, &next),
            Kind::Sign('!') => {
                self.bump();
                Ok(Step::Crash)
            }
            Kind::Sign('&') => {
                self.bump();
                Ok(Step::Calls {
                    needed: Needed::All,
                    calls: self.calls()?,
                })
            }
            Kind::Sign('|') => {
                self.bump();
                Ok(Step::Calls {
                    needed: Needed::Any,
                    calls: self.calls()?,
                })
            }
            Kind::Word(_) if tokens::next(self.text, next.part.end).kind == Kind::Sign('/') => self.some_of(&next),
            Kind::Word(_) => self.named_step(actor),
            Kind::Sign(_) | Kind::BarBar | Kind::End => self.unexpected("a step", &next),
        }
    }

    /// `K/( )`.
    fn some_of(&mut self, start: &Token<'a>) -> Result<Step> {
        let needed = self.number("the number of needed calls", 1, CALLS_MAX)?;
        self.expect('/', "`/`")?;
        let calls = self.calls()?;
        if needed as usize > calls.len() {
            let kind = ErrorKind::OutOfRange {
                what: "the number of needed calls",
                min: 1,
                max: calls.len() as u64,
            };
            return self.error(kind, start);
        }
        Ok(Step::Calls {
            needed: Needed::Some(needed),
            calls,
        })
    }

    /// A call, or `NAME+`, or `NAME-`.
    fn named_step(&mut self, actor: &mut Actor) -> Result<Step> {
        let mention = self.name("a step")?;
        if self.eat('+') {
            let pool = self.names.mention(self.text, &mention, NameUse::Pool)?;
            *actor.taken.entry(Name::clone(&pool)).or_default() += 1;
            return Ok(Step::Take(pool));
        }
        if self.eat('-') {
            let pool = self.names.mention(self.text, &mention, NameUse::Pool)?;
            let Some(taken) = actor.taken.get_mut(&pool).filter(|taken| **taken > 0) else {
                let kind = ErrorKind::ReleaseWithoutTake {
                    name: mention.name.to_owned(),
                };
                return Err(ScriptError::new(kind, self.text, mention.part));
            };
            *taken -= 1;
            return Ok(Step::Release(pool));
        }
        Ok(Step::Call(self.call_of(&mention)?))
    }

    /// The calls of a group.
    fn calls(&mut self) -> Result<Vec<Call>> {
        self.expect('(', "`(`")?;
        let mut calls = Vec::new();
        loop {
            let mention = self.name("the name of a server")?;
            calls.push(self.call_of(&mention)?);
            if self.eat(')') {
                return Ok(calls);
            }
            self.expect(',', "`,` or `)`")?;
        }
    }

    /// The rest of a call, after its name.
    fn call_of(&mut self, mention: &Mention<'a>) -> Result<Call> {
        let server = self.names.mention(self.text, mention, NameUse::Server)?;
        self.calls = self.calls.saturating_add(1);
        let brace = self.peek();
        let steps = if self.eat('{') {
            if self.depth == DEPTH_MAX {
                return self.error(ErrorKind::TooDeep, &brace);
            }
            self.depth += 1;
            let mut actor = Actor::new(ActorKind::Server);
            let steps = self.steps(&mut actor)?;
            self.expect('}', actor.expected_after_step())?;
            self.depth -= 1;
            steps
        } else {
            Vec::new()
        };
        let timeout = if self.eat('@') { Some(self.time()?) } else { None };
        Ok(Call { server, steps, timeout })
    }

    fn name(&mut self, expected: &'static str) -> Result<Mention<'a>> {
        let word = self.bump();
        let Kind::Word(name) = word.kind else {
            return self.unexpected(expected, &word);
        };
        if name.chars().count() > NAME_LENGTH_MAX {
            return self.error(ErrorKind::NameTooLong, &word);
        }
        let bracket = self.peek().part.start;
        let capacity = if self.eat('[') {
            let units = self.number("a capacity", 1, capacity_max())?;
            self.expect(']', "`]`")?;
            Some((units, bracket..self.offset))
        } else {
            None
        };
        Ok(Mention {
            name,
            part: word.part,
            capacity,
        })
    }

    fn time(&mut self) -> Result<Duration> {
        Ok(Duration::from_millis(u64::from(self.number(
            "a time in milliseconds",
            0,
            time_max_ms(),
        )?)))
    }

    /// Preconditions: `max` is less than 2³².
    fn number(&mut self, what: &'static str, min: u64, max: u64) -> Result<u32> {
        let word = self.bump();
        let is_number = |word: &str| word.bytes().all(|it| it.is_ascii_digit());
        let Kind::Word(digits) = word.kind else {
            return self.unexpected(what, &word);
        };
        if !is_number(digits) {
            return self.unexpected(what, &word);
        }
        match digits.parse::<u32>() {
            Ok(number) if (min..=max).contains(&u64::from(number)) => Ok(number),
            Ok(_) | Err(_) => self.error(ErrorKind::OutOfRange { what, min, max }, &word),
        }
    }

    fn peek(&self) -> Token<'a> {
        tokens::next(self.text, self.offset)
    }

    fn bump(&mut self) -> Token<'a> {
        let token = self.peek();
        self.offset = token.part.end;
        token
    }

    fn eat(&mut self, sign: char) -> bool {
        let next = self.peek();
        let is_it = next.kind == Kind::Sign(sign);
        if is_it {
            self.offset = next.part.end;
        }
        is_it
    }

    fn expect(&mut self, sign: char, expected: &'static str) -> Result<()> {
        let next = self.bump();
        if next.kind == Kind::Sign(sign) {
            Ok(())
        } else {
            self.unexpected(expected, &next)
        }
    }

    fn unexpected<T>(&self, expected: &'static str, token: &Token<'_>) -> Result<T> {
        let kind = ErrorKind::Unexpected {
            expected,
            found: token.kind.to_string(),
        };
        Err(ScriptError::with_advice(
            kind,
            token.kind.place(),
            self.text,
            token.part.clone(),
        ))
    }

    fn error<T>(&self, kind: ErrorKind, token: &Token<'_>) -> Result<T> {
        Err(ScriptError::new(kind, self.text, token.part.clone()))
    }
}

#[cfg(test)]
mod tests;

//! The registry in Redis.
//!
//! | key | type | content |
//! |---|---|---|
//! | `<prefix>members` | hash | node → when its lease runs out (ms since 1970, Redis's clock) and the member |
//! | `<prefix>name:<kind>:<id>` | string, expires | the member that runs this process |
//!
//! A member is written `<incarnation> <address> <node>`. Scripts make each change atomic; only Redis's own clock counts.
//! Redis may lose everything: what runs is registered again with the next renewal.

use std::time::Duration;

use async_trait::async_trait;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{FromRedisValue, Script, ScriptInvocation};
use thiserror::Error;

use super::{Member, ProcessName, Registry, RegistryError};
use crate::backoff::Backoff;

/// How long one command may take, a new connection included. Callers try again, so this is short.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest delay before connecting again.
const RECONNECT_DELAY_MAX: Duration = Duration::from_millis(500);
/// The most names renewed in one script, which holds up everything else in Redis for about a millisecond.
const NAMES_PER_SCRIPT: usize = 500;

/// KEYS: members. ARGV: node, member, lease in ms. The whole hash goes when its last member has been gone for long.
const JOIN: &str = "
local time = redis.call('TIME')
local until_ms = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[3]
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f ', until_ms) .. ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3] * 10)";

/// KEYS: members. Returns those whose leases have not run out, and forgets the others.
const MEMBERS: &str = "
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local all = redis.call('HGETALL', KEYS[1])
local members = {}
for i = 1, #all, 2 do
  local until_ms, member = string.match(all[i + 1], '^(%d+) (.*)$')
  if until_ms and tonumber(until_ms) > now_ms then
    members[#members + 1] = member
  else
    redis.call('HDEL', KEYS[1], all[i])
  end
end
return members";

/// KEYS: members. ARGV: node, member. Removes the member unless a successor of the same name has joined.
const LEAVE: &str = "
local entry = redis.call('HGET', KEYS[1], ARGV[1])
if entry and string.match(entry, '^%d+ (.*)$') == ARGV[2] then
  redis.call('HDEL', KEYS[1], ARGV[1])
end";

/// KEYS: names. ARGV: member, lease in ms. Registers or renews each name that is free or the member's own; returns the
/// owner of each.
const REGISTER: &str = "
local owners = {}
for i, key in ipairs(KEYS) do
  local owner = redis.call('GET', key)
  if not owner then
    owner = ARGV[1]
    redis.call('SET', key, owner, 'PX', ARGV[2])
  elseif owner == ARGV[1] then
    redis.call('PEXPIRE', key, ARGV[2])
  end
  owners[i] = owner
end
return owners";

/// KEYS: names. ARGV: member. Deletes those that are the member's own.
const UNREGISTER: &str = "
for _, key in ipairs(KEYS) do
  if redis.call('GET', key) == ARGV[1] then
    redis.call('DEL', key)
  end
end";

/// The URL is none of a Redis server.
#[derive(Debug, Error)]
#[error("not a Redis URL, such as redis://127.0.0.1:6379/")]
pub struct InvalidRedisUrl {
    #[source]
    source: redis::RedisError,
}

/// A registry in Redis, as one service instance sees it.
#[derive(Clone)]
pub struct RedisRegistry {
    connection: ConnectionManager,
    /// Host and port.
    server: String,
    /// Before each key, so that clusters that share a server do not see each other.
    prefix: String,
}

impl RedisRegistry {
    /// Connects with the first command. `prefix` goes before each key.
    pub fn connect(url: &str, prefix: &str) -> Result<Self, InvalidRedisUrl> {
        let invalid = |source| InvalidRedisUrl { source };
        let client = redis::Client::open(url).map_err(invalid)?;
        let server = client.get_connection_info().addr().to_string();
        let config = ConnectionManagerConfig::new()
            .set_max_delay(RECONNECT_DELAY_MAX)
            .set_connection_timeout(Some(COMMAND_TIMEOUT))
            .set_response_timeout(Some(COMMAND_TIMEOUT));
        let connection = ConnectionManager::new_lazy_with_config(client, config).map_err(invalid)?;
        Ok(Self {
            connection,
            server,
            prefix: prefix.to_owned(),
        })
    }

    /// Waits until the server answers.
    pub async fn connected(&self) {
        let mut backoff = Backoff::reconnect();
        while self.members().await.is_err() {
            backoff.wait().await;
        }
    }

    async fn run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, RegistryError> {
        let mut connection = self.connection.clone();
        match tokio::time::timeout(COMMAND_TIMEOUT, script.invoke_async(&mut connection)).await {
            Ok(answer) => answer.map_err(|error| self.failed(error)),
            Err(_elapsed) => Err(self.failed(format!("no answer within {COMMAND_TIMEOUT:?}"))),
        }
    }

    fn failed(&self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> RegistryError {
        RegistryError {
            server: self.server.clone(),
            source: cause.into(),
        }
    }

    /// Registers or renews names and returns those that another member has.
    async fn register_all(
        &self,
        names: &[ProcessName],
        me: &Member,
        lease: Duration,
    ) -> Result<Vec<Option<Member>>, RegistryError> {
        let script = Script::new(REGISTER);
        let mut owners = Vec::with_capacity(names.len());
        for names in names.chunks(NAMES_PER_SCRIPT) {
            let mut invocation = script.prepare_invoke();
            invocation.arg(text_of(me)).arg(millis(lease));
            for name in names {
                invocation.key(self.name_key(name));
            }
            let texts: Vec<String> = self.run(&invocation).await?;
            owners.extend(texts.iter().map(|text| member_of(text)));
        }
        Ok(owners)
    }

    async fn unregister_all(&self, names: &[ProcessName], me: &Member) -> Result<(), RegistryError> {
        let script = Script::new(UNREGISTER);
        for names in names.chunks(NAMES_PER_SCRIPT) {
            let mut invocation = script.arg(text_of(me));
            for name in names {
                invocation.key(self.name_key(name));
            }
            self.run::<()>(&invocation).await?;
        }
        Ok(())
    }

    fn members_key(&self) -> String {
        format!("{}members", self.prefix)
    }

    fn name_key(&self, name: &ProcessName) -> String {
        format!("{}name:{}:{}", self.prefix, name.kind, name.id)
    }
}

#[async_trait]
impl Registry for RedisRegistry {
    async fn renew(
        &self,
        me: &Member,
        names: &[ProcessName],
        lease: Duration,
    ) -> Result<Vec<ProcessName>, RegistryError> {
        let script = Script::new(JOIN);
        let mut invocation = script.key(self.members_key());
        invocation.arg(&me.node).arg(text_of(me)).arg(millis(lease));
        self.run::<()>(&invocation).await?;
        let owners = self.register_all(names, me, lease).await?;
        let lost = names.iter().zip(owners).filter(|(_, owner)| owner.as_ref() != Some(me));
        Ok(lost.map(|(name, _)| name.clone()).collect())
    }

    async fn leave(&self, me: &Member, names: &[ProcessName]) -> Result<(), RegistryError> {
        let script = Script::new(LEAVE);
        let mut invocation = script.key(self.members_key());
        invocation.arg(&me.node).arg(text_of(me));
        self.run::<()>(&invocation).await?;
        self.unregister_all(names, me).await
    }

    async fn members(&self) -> Result<Vec<Member>, RegistryError> {
        let texts: Vec<String> = self.run(&Script::new(MEMBERS).key(self.members_key())).await?;
        let mut members: Vec<Member> = texts.iter().filter_map(|text| member_of(text)).collect();
        members.sort();
        Ok(members)
    }

    async fn register(&self, name: &ProcessName, me: &Member, lease: Duration) -> Result<Member, RegistryError> {
        let owners = self.register_all(std::slice::from_ref(name), me, lease).await?;
        owners
            .into_iter()
            .next()
            .flatten()
            .ok_or_else(|| self.failed("it gave no owner"))
    }

    async fn unregister(&self, name: &ProcessName, me: &Member) -> Result<(), RegistryError> {
        self.unregister_all(std::slice::from_ref(name), me).await
    }

    async fn owner(&self, name: &ProcessName) -> Result<Option<Member>, RegistryError> {
        let mut connection = self.connection.clone();
        let mut command = redis::cmd("GET");
        command.arg(self.name_key(name));
        match tokio::time::timeout(COMMAND_TIMEOUT, command.query_async::<Option<String>>(&mut connection)).await {
            Ok(Ok(text)) => Ok(text.as_deref().and_then(member_of)),
            Ok(Err(error)) => Err(self.failed(error)),
            Err(_elapsed) => Err(self.failed(format!("no answer within {COMMAND_TIMEOUT:?}"))),
        }
    }
}

fn millis(lease: Duration) -> u64 {
    u64::try_from(lease.as_millis()).unwrap_or(u64::MAX).max(1)
}

fn text_of(member: &Member) -> String {
    format!("{:016x} {} {}", member.incarnation, member.address, member.node)
}

fn member_of(text: &str) -> Option<Member> {
    let mut parts = text.splitn(3, ' ');
    let incarnation = u64::from_str_radix(parts.next()?, 16).ok()?;
    let address = parts.next()?.to_owned();
    let node = parts.next()?.to_owned();
    Some(Member {
        node,
        incarnation,
        address,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_come_back_as_they_went() {
        let member = Member {
            node: "service a 1".into(),
            incarnation: u64::MAX,
            address: "127.0.0.1:4000".into(),
        };
        assert_eq!(member_of(&text_of(&member)), Some(member));
    }

    #[test]
    fn what_is_not_a_member_is_none() {
        for text in ["", "1", "1 a", "x a b", "11111111111111111 a b"] {
            assert_eq!(member_of(text), None, "{text}");
        }
    }
}

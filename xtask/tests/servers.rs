//! The private servers: they start, stop, keep their state, and leave nothing behind however their owner ends.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may fail like tests")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use lapin::options::{BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use xtask::servers::{RabbitMq, Redis};

/// The `host:port` of a URL.
fn address(url: &str) -> SocketAddr {
    let (_, rest) = url.split_once("://").unwrap();
    let (authority, _) = rest.split_once('/').unwrap();
    authority.rsplit('@').next().unwrap().parse().unwrap()
}

fn assert_free(url: &str) {
    TcpListener::bind(address(url)).unwrap_or_else(|error| panic!("{url} is still taken: {error}"));
}

fn redis_says(url: &str, command: &str) -> String {
    let mut connection = TcpStream::connect(address(url)).unwrap();
    write!(connection, "{command}\r\nQUIT\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn redis_keeps_its_port_and_its_data() {
    let mut redis = Redis::start().unwrap();
    let url = redis.url();
    assert_eq!(redis_says(&url, "SET colour green"), "+OK\r\n+OK\r\n");

    redis.stop().unwrap();
    assert_free(&url);
    redis.start_again().unwrap();
    assert_eq!(redis.url(), url);
    assert!(redis_says(&url, "GET colour").contains("green"));

    assert_eq!(redis_says(&url, "SET colour blue"), "+OK\r\n+OK\r\n");
    redis.kill().unwrap();
    assert_free(&url);
    redis.start_again().unwrap();
    assert!(redis_says(&url, "GET colour").contains("blue"));

    drop(redis);
    assert_free(&url);
}

#[test]
fn stopping_twice_is_no_error_and_starting_twice_is_one() {
    let mut redis = Redis::start().unwrap();
    assert!(redis.start_again().is_err());
    redis.stop().unwrap();
    redis.stop().unwrap();
    redis.kill().unwrap();
}

async fn channel(url: &str) -> (Connection, Channel) {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}

/// Leaves a message that is meant to last, acknowledged by the broker.
async fn leave(url: &str, message: &[u8]) {
    let (connection, channel) = channel(url).await;
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare("letters".into(), durable, FieldTable::default())
        .await
        .unwrap();
    let persistent = BasicProperties::default().with_delivery_mode(2);
    let publish = channel.basic_publish(
        "".into(),
        "letters".into(),
        BasicPublishOptions::default(),
        message,
        persistent,
    );
    publish.await.unwrap().await.unwrap();
    connection.close(0, "".into()).await.unwrap();
}

async fn fetch(url: &str) -> Vec<u8> {
    let (connection, channel) = channel(url).await;
    let letter = channel
        .basic_get("letters".into(), BasicGetOptions { no_ack: true })
        .await
        .unwrap()
        .unwrap();
    connection.close(0, "".into()).await.unwrap();
    letter.delivery.data
}

#[tokio::test]
async fn rabbit_mq_keeps_its_port_and_its_messages() {
    let mut broker = RabbitMq::start().unwrap();
    let url = broker.url();

    leave(&url, b"green").await;
    broker.stop().unwrap();
    assert_free(&url);
    broker.start_again().unwrap();
    assert_eq!(broker.url(), url);
    assert_eq!(fetch(&url).await, b"green");

    leave(&url, b"blue").await;
    broker.kill().unwrap();
    assert_free(&url);
    broker.start_again().unwrap();
    assert_eq!(fetch(&url).await, b"blue");

    drop(broker);
    assert_free(&url);
}

/// The servers of a process that ends in different ways, found by a mark in the environment that they inherit.
#[cfg(target_os = "linux")]
mod owner {
    use std::process::{Child, Command, Stdio};
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    const MARK: &str = "STANDOFF_TEST_MARK";

    /// Far more than a broker needs to stop.
    const GONE_WITHIN: Duration = Duration::from_secs(60);

    struct Owner {
        process: Child,
        /// Where the servers keep their files. An owner that is killed cannot remove them, so this does.
        _files: tempfile::TempDir,
        mark: String,
        urls: Vec<String>,
    }

    impl Owner {
        /// A process with a private RabbitMQ and a private Redis, both ready.
        fn start(name: &str) -> Self {
            let mark = format!("{name}-{}", std::process::id());
            let files = tempfile::tempdir().unwrap();
            let mut process = Command::new(env!("CARGO_BIN_EXE_xtask"))
                .arg("servers")
                .env(MARK, &mark)
                .env("TMPDIR", files.path())
                .env_remove(xtask::servers::AMQP_URL)
                .env_remove(xtask::servers::REDIS_URL)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let output = BufReader::new(process.stdout.take().unwrap());
            let urls: Vec<String> = output
                .lines()
                .take(2)
                .map(|line| line.unwrap().split_once('=').unwrap().1.to_owned())
                .collect();
            assert_eq!(urls.len(), 2, "both servers are ready");
            Self {
                process,
                _files: files,
                mark,
                urls,
            }
        }

        /// The processes that carry our mark. Those that have ended and only wait for their parent have no environment.
        fn marked(&self) -> Vec<u32> {
            let mark = format!("{MARK}={}", self.mark);
            std::fs::read_dir("/proc")
                .unwrap()
                .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
                .filter(|pid| {
                    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                    environment
                        .split(|&byte| byte == 0)
                        .any(|variable| variable == mark.as_bytes())
                })
                .collect()
        }

        fn assert_all_gone(&self) {
            let deadline = Instant::now() + GONE_WITHIN;
            while !self.marked().is_empty() {
                assert!(Instant::now() < deadline, "still there: {:?}", self.marked());
                thread::sleep(Duration::from_millis(20));
            }
            self.urls.iter().for_each(|url| assert_free(url));
        }
    }

    #[test]
    fn an_owner_that_ends_leaves_nothing_behind() {
        let mut owner = Owner::start("ends");
        assert!(
            owner.marked().len() > 3,
            "the owner, the broker, its port mapper, Redis: {:?}",
            owner.marked()
        );
        drop(owner.process.stdin.take());
        assert!(owner.process.wait().unwrap().success());
        owner.assert_all_gone();
    }

    #[test]
    fn an_owner_that_is_killed_leaves_nothing_running() {
        let mut owner = Owner::start("killed");
        owner.process.kill().unwrap();
        owner.process.wait().unwrap();
        owner.assert_all_gone();
    }
}

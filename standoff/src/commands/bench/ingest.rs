//! `standoff bench ingest`: how many spans a server takes in a second of the processor's time.
//!
//! The servers are processes of their own, and take turns under the same load, so that all of them see the same machine.
//! What is counted is their own time on the processor: how busy others are, this load generator among them, matters
//! little then.

mod answer;
mod ids;
mod load;
mod native;
mod report;
mod requests;
mod servers;
mod sink;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use standoff_protocol::stream::SPANS_PER_MESSAGE_MAX;

use self::load::{Length, Load, Sent};
use self::report::Report;
use self::requests::{Requests, Shape};
use self::servers::{Server, Who};
use super::process;
use crate::cli::{Ingest, Protocol};
use crate::exit::{Exit, Failure};

pub(in crate::commands) use self::sink::run as sink;

/// What a server has taken it has usually worked off after this long.
const WORKED_OFF_AFTER: Duration = Duration::from_millis(100);

/// It must have worked it off after this long: what it has not taken by then it has lost.
const WORKED_OFF_WITHIN: Duration = Duration::from_secs(20);

pub(in crate::commands) async fn run(options: Ingest) -> anyhow::Result<Exit> {
    let mut report = Report::new(&options)?;
    for protocol in &options.protocol {
        for batch in &options.batch {
            let load = load(&options, *protocol, *batch)?;
            let measured = measure(&options, &load).await?;
            report.add(&load, measured)?;
        }
    }
    report.finish()?;
    Ok(Exit::Well)
}

fn load(options: &Ingest, protocol: Protocol, batch: u32) -> anyhow::Result<Load> {
    let shape = Shape {
        spans: batch,
        open: (batch * options.open).div_ceil(100).min(batch / 2),
        attributes: options.attributes,
    };
    if protocol == Protocol::Native && shape.open as usize > SPANS_PER_MESSAGE_MAX {
        let problem = format!("a message of the native stream has at most {SPANS_PER_MESSAGE_MAX} open spans");
        return Err(Failure::Usage(problem).into());
    }
    Ok(Load {
        protocol,
        compression: options.compression,
        shape,
        requests: Arc::new(Requests::new(shape, protocol, options.compression)?),
        connections: options.connections,
        in_flight: options.in_flight,
        length: options.spans.map_or(Length::Time(options.time), Length::Spans),
    })
}

/// A server, and what was measured of it.
struct Measured {
    who: Who,
    rounds: Vec<Round>,
    /// The most memory that it has had, in bytes.
    memory: Option<u64>,
}

/// One measurement.
#[derive(Debug)]
struct Round {
    sent: Sent,
    elapsed: Duration,
    /// The server's time on the processor.
    server: Option<Duration>,
    /// Our own meanwhile.
    generator: Duration,
}

/// Measures all servers in turns.
async fn measure(options: &Ingest, load: &Load) -> anyhow::Result<Vec<Measured>> {
    let mut servers = Vec::new();
    for who in Who::all(options, load.protocol) {
        let server = Server::start(&who, load.protocol).await?;
        servers.push((server, who, Vec::new()));
    }
    for number in 0..=options.rounds {
        for (server, who, rounds) in &mut servers {
            let round = round(load, server, who).await?;
            // The first one finds nothing warm.
            if number > 0 {
                rounds.push(round);
            }
        }
    }
    let measured = servers.into_iter().map(|(server, who, rounds)| {
        Ok(Measured {
            memory: server.memory()?,
            who,
            rounds,
        })
    });
    measured.collect()
}

async fn round(load: &Load, server: &Server, who: &Who) -> anyhow::Result<Round> {
    let this = std::process::id();
    let taken_before = server.taken().await?;
    let (server_before, generator_before) = (server.on_processor()?, process::on_processor(this)?);
    let (sent, elapsed) = load.run(&server.url, who.path()).await?;
    let generator = process::on_processor(this)?.saturating_sub(generator_before);
    if let Some(reason) = &sent.reason {
        bail!("{} refuses what is sent: {reason}", who.name());
    }
    tokio::time::sleep(WORKED_OFF_AFTER).await;
    if let Some(before) = taken_before {
        until_taken(server, who, before + sent.accepted).await?;
    }
    let server_after = server.on_processor()?;
    let server = server_after.zip(server_before);
    Ok(Round {
        sent,
        elapsed,
        server: server.map(|(after, before)| after.saturating_sub(before)),
        generator,
    })
}

/// Waits until the server says that it has taken all that it has said to accept: nothing may be lost in silence.
async fn until_taken(server: &Server, who: &Who, accepted: u64) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let taken = server.taken().await?.unwrap_or(accepted);
        if taken == accepted {
            return Ok(());
        }
        ensure!(
            taken < accepted && begun.elapsed() < WORKED_OFF_WITHIN,
            "{} has accepted {accepted} spans, and says that it has taken {taken}",
            who.name()
        );
        tokio::time::sleep(WORKED_OFF_AFTER).await;
    }
}

//! What is printed: a table for people, or everything as JSON.

use std::io::Write;

use serde_json::{Value, json};

use super::load::Load;
use super::servers::Who;
use super::{Measured, Round};
use crate::cli::Ingest;

/// Prints row after row, or everything at the end.
pub(super) struct Report {
    /// What is printed at the end, unless tables are printed.
    json: Option<Vec<Value>>,
}

/// The medians of a server's rounds.
struct Medians {
    /// Spans that it has taken in a second.
    speed: f64,
    /// Nanoseconds on the processor for a span.
    cost: Option<f64>,
    /// How much of a processor it has used.
    server_load: Option<f64>,
    /// How much of one the generator has used.
    generator_load: f64,
}

impl Report {
    pub(super) fn new(options: &Ingest) -> anyhow::Result<Self> {
        if options.json {
            return Ok(Report { json: Some(Vec::new()) });
        }
        let length = match options.spans {
            Some(spans) => format!("{spans} spans"),
            None => format!("{:?}", options.time),
        };
        writeln!(
            std::io::stdout(),
            "medians of {} rounds of {length}, over {} connections, {} attributes a span, {} % open",
            options.rounds,
            options.connections,
            options.attributes,
            options.open,
        )?;
        Ok(Report { json: None })
    }

    pub(super) fn add(&mut self, load: &Load, measured: Vec<Measured>) -> anyhow::Result<()> {
        let rows: Vec<(Measured, Medians)> = measured
            .into_iter()
            .map(|measured| {
                let medians = Medians::of(&measured.rounds);
                (measured, medians)
            })
            .collect();
        match &mut self.json {
            Some(all) => {
                all.extend(
                    rows.iter()
                        .map(|(measured, medians)| row_as_json(load, measured, medians, &rows)),
                );
                Ok(())
            }
            None => print(load, &rows),
        }
    }

    pub(super) fn finish(self) -> anyhow::Result<()> {
        if let Some(rows) = self.json {
            writeln!(std::io::stdout(), "{}", json!({ "rows": rows }))?;
        }
        Ok(())
    }
}

impl Medians {
    fn of(rounds: &[Round]) -> Self {
        let median_of = |of: &dyn Fn(&Round) -> Option<f64>| median(rounds.iter().filter_map(of).collect());
        let seconds = |round: &Round| round.elapsed.as_secs_f64();
        Medians {
            speed: median_of(&|it| Some(it.sent.accepted as f64 / seconds(it))).unwrap_or(f64::NAN),
            // Linux counts in hundredths of a second: less than one is not measured.
            cost: median_of(&|it| Some(it.server?.as_secs_f64() * 1e9 / it.sent.accepted as f64))
                .filter(|it| *it > 0.0),
            server_load: median_of(&|it| Some(it.server?.as_secs_f64() / seconds(it))),
            generator_load: median_of(&|it| Some(it.generator.as_secs_f64() / seconds(it))).unwrap_or(f64::NAN),
        }
    }

    fn spans_per_cpu_second(&self) -> Option<f64> {
        self.cost.map(|cost| 1e9 / cost)
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Nanoseconds that this server needs for a span.
fn cost_of(rows: &[(Measured, Medians)], who: &Who) -> Option<f64> {
    rows.iter().find(|(measured, _)| measured.who == *who)?.1.cost
}

/// How many times the spans of the bare sink a server takes with the same time on the processor.
fn ratio(medians: &Medians, rows: &[(Measured, Medians)]) -> Option<f64> {
    Some(cost_of(rows, &Who::Bare)? / medians.cost?)
}

/// What a part of the collector takes, in hundredths of its whole time.
struct Share {
    what: &'static str,
    percent: f64,
}

/// Each part is what a server with it takes, less what one without it does.
fn shares(rows: &[(Measured, Medians)]) -> Option<[Share; 4]> {
    let cost = |who| cost_of(rows, &who);
    let whole = cost(Who::Collector)?;
    let [answers, decodes, sources] = [cost(Who::Answers)?, cost(Who::Decodes)?, cost(Who::Sources)?];
    let share = |what, cost: f64| Share {
        what,
        percent: 100.0 * cost / whole,
    };
    Some([
        share("HTTP", answers),
        share("decoding", decodes - answers),
        share("sources", sources - decodes),
        share("detector and graph", whole - sources),
    ])
}

fn print(load: &Load, rows: &[(Measured, Medians)]) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    writeln!(
        out,
        "\n{}, batches of {}, {} bytes a span",
        load.protocol.name(),
        load.shape.spans,
        load.requests.bytes_per_span(load.shape)
    )?;
    writeln!(
        out,
        "{:>22} {:>10} {:>13} {:>8} {:>8} {:>9} {:>8} {:>9} {:>11}",
        "", "spans/s", "per CPU-s", "ns/span", "of bare", "peak MiB", "refused", "CPU", "generator"
    )?;
    let text = |value: Option<f64>, decimals: usize| value.map_or("-".into(), |it| format!("{it:.decimals$}"));
    for (measured, medians) in rows {
        let refused: u64 = measured.rounds.iter().map(|it| it.sent.refused).sum();
        writeln!(
            out,
            "{:>22} {:>10.0} {:>13} {:>8} {:>8} {:>9} {refused:>8} {:>9} {:>11.2}",
            measured.who.name(),
            medians.speed,
            text(medians.spans_per_cpu_second(), 0),
            text(medians.cost, 0),
            text(ratio(medians, rows), 2),
            measured.memory.map_or("-".into(), |it| (it >> 20).to_string()),
            text(medians.server_load, 2),
            medians.generator_load,
        )?;
    }
    if let Some(shares) = shares(rows) {
        let shares = shares.map(|it| format!("{:.0} % {}", it.percent, it.what));
        writeln!(out, "{:>22} {}", "of the collector:", shares.join(", "))?;
    }
    Ok(())
}

fn row_as_json(load: &Load, measured: &Measured, medians: &Medians, rows: &[(Measured, Medians)]) -> Value {
    let sum = |of: fn(&Round) -> u64| measured.rounds.iter().map(of).sum::<u64>();
    let mut row = json!({
        "protocol": load.protocol.name(),
        "batch": load.shape.spans,
        "open": load.shape.open,
        "bytes_per_span": load.requests.bytes_per_span(load.shape),
        "server": measured.who.name(),
        "spans_per_second": medians.speed,
        "spans_per_cpu_second": medians.spans_per_cpu_second(),
        "cpu_ns_per_span": medians.cost,
        "ratio_to_bare": ratio(medians, rows),
        "server_cpus": medians.server_load,
        "generator_cpus": medians.generator_load,
        "peak_memory_bytes": measured.memory,
        "spans_accepted": sum(|it| it.sent.accepted),
        "spans_rejected": sum(|it| it.sent.rejected),
        "spans_given_up": sum(|it| it.sent.given_up),
        "requests_refused": sum(|it| it.sent.refused),
        "rounds": measured.rounds.len(),
    });
    if measured.who == Who::Collector
        && let Some(shares) = shares(rows)
    {
        let shares = shares.map(|it| json!({ "part": it.what, "percent": it.percent }));
        if let Some(row) = row.as_object_mut() {
            row.insert("shares".into(), shares.to_vec().into());
        }
    }
    row
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::load::Sent;
    use super::*;

    fn measured(who: Who, cpu_ms: u64) -> (Measured, Medians) {
        let rounds: Vec<Round> = [cpu_ms, 1, 10_000]
            .map(|ms| Round {
                sent: Sent {
                    accepted: 1_000_000,
                    ..Sent::default()
                },
                elapsed: Duration::from_secs(2),
                server: Some(Duration::from_millis(ms)),
                generator: Duration::from_secs(1),
            })
            .into();
        let medians = Medians::of(&rounds);
        let memory = None;
        (Measured { who, rounds, memory }, medians)
    }

    #[test]
    fn a_ratio_is_that_of_the_medians() {
        let rows = [measured(Who::Bare, 2000), measured(Who::Collector, 500)];
        assert_eq!(ratio(&rows[1].1, &rows), Some(4.0));
        assert_eq!(rows[0].1.spans_per_cpu_second(), Some(500_000.0));
        assert_eq!((rows[0].1.speed, rows[0].1.generator_load), (500_000.0, 0.5));
        assert!(shares(&rows).is_none(), "without the parts there are no shares");
    }

    #[test]
    fn shares_are_what_each_part_adds() {
        let rows = [
            measured(Who::Answers, 100),
            measured(Who::Decodes, 250),
            measured(Who::Sources, 350),
            measured(Who::Collector, 500),
        ];
        let percents = shares(&rows).unwrap().map(|it| it.percent.round());
        assert_eq!(percents, [20.0, 30.0, 20.0, 30.0]);
    }
}

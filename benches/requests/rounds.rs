//! Measures the variants in turns, so that what happens on the machine meanwhile happens to all of them.

use std::time::Duration;

use crate::load::{self, Script, Slice};
use crate::variants::{POOL, Series, Servers, alice};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    pub(crate) slice: Duration,
}

/// Connections and added latency in milliseconds, with what was measured there.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) connections: usize,
    pub(crate) latency: f64,
    pub(crate) lines: Vec<Line>,
}

#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) series: Series,
    /// One for each round.
    pub(crate) slices: Vec<Slice>,
}

impl Line {
    /// The median over the rounds.
    pub(crate) fn median(&self, of: impl Fn(&Slice) -> f64) -> f64 {
        median(self.slices.iter().map(of).collect())
    }

    /// The median of the rounds' ratios to another line.
    pub(crate) fn ratio(&self, to: &Self, of: impl Fn(&Slice) -> f64) -> f64 {
        let pairs = self.slices.iter().zip(&to.slices);
        median(pairs.map(|(slice, other)| of(slice) / of(other)).collect())
    }

    pub(crate) fn errors(&self) -> u64 {
        self.slices.iter().map(|slice| slice.errors).sum()
    }
}

impl Cell {
    pub(crate) fn line(&self, series: Series) -> Option<&Line> {
        self.lines.iter().find(|line| line.series == series)
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

/// Takes `rounds` turns through what can be measured. Each turn begins with another one.
pub(crate) fn interleave<T: Copy>(
    plan: Plan,
    all: &[T],
    mut slice: impl FnMut(T, Duration) -> Slice,
) -> Vec<Vec<Slice>> {
    for &one in all {
        slice(one, (plan.slice / 2).min(Duration::from_millis(500)));
    }
    let mut slices: Vec<Vec<Slice>> = vec![Vec::new(); all.len()];
    for round in 0..plan.rounds {
        for turn in 0..all.len() {
            let at = (turn + round) % all.len();
            slices[at].push(slice(all[at], plan.slice));
        }
    }
    slices
}

/// Each connection has a token of its own and a row of its own to write.
pub(crate) fn scripts(series: Series, connections: usize) -> Result<Vec<Script>, String> {
    let script = |connection| {
        let token = alice(connection)?;
        // Values change, so that no update is one in name only.
        let requests = (0..4).map(|value| series.request(&token, connection, value));
        Ok(requests.collect())
    };
    (0..connections).map(script).collect()
}

pub(crate) fn cell(
    plan: Plan,
    servers: &Servers,
    all: &[Series],
    connections: usize,
    latency: f64,
) -> Result<Cell, String> {
    let scripts = all.iter().map(|&series| scripts(series, connections));
    let scripts: Vec<Vec<Script>> = scripts.collect::<Result<_, _>>()?;
    let lines: Vec<usize> = (0..all.len()).collect();
    // Until the slowest, with seven round trips, has answered each connection once.
    let turns = connections as f64 / f64::from(POOL);
    let warm_up = Duration::from_millis(100) + Duration::from_secs_f64(7.0 * turns * latency / 1e3);
    let slices = interleave(plan, &lines, |line, time| {
        let port = servers.port(all[line]);
        load::run(port, &scripts[line], warm_up, time)
    });
    let lines = all.iter().zip(slices);
    Ok(Cell {
        connections,
        latency,
        lines: lines
            .map(|(&series, slices)| Line { series, slices })
            .collect(),
    })
}

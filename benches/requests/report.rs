//! The tables.

use crate::load::Slice;
use crate::rounds::{Cell, Line};
use crate::variants::{Form, Series};

const READS: [Series; 3] = [Series::Floor, Series::Usual, Series::Careful];
const WRITES: [Series; 3] = [Series::FloorWrite, Series::UsualWrite, Series::CarefulWrite];

pub(crate) fn print(cell: &Cell) {
    let (connections, latency) = (cell.connections, cell.latency);
    let s = if connections == 1 { "" } else { "s" };
    println!("\n### {connections} connection{s}, {latency} ms added to the round trip\n");
    println!(
        "| | variant | requests/s | × floor | × usual | × careful | p50 ms | p99 ms | CPU µs: service | PostgreSQL | errors |"
    );
    println!("|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    for line in &cell.lines {
        let (form, to) = match line.series.form() {
            Form::Read => ("read", READS),
            Form::Write => ("write", WRITES),
        };
        let [a, e, f] = to.map(|series| match cell.line(series) {
            Some(other) => format!("{:.2}", line.ratio(other, Slice::per_second)),
            None => String::new(),
        });
        let cpu = |of: fn((f64, f64)) -> f64| match line
            .median(|slice| slice.cpu().map_or(f64::NAN, of))
        {
            micros if micros.is_nan() => String::new(),
            micros => format!("{micros:.0}"),
        };
        println!(
            "| {} | {}, {form} | {:.0} | {a} | {e} | {f} | {:.3} | {:.3} | {} | {} | {} |",
            line.series.letter(),
            line.series.name(),
            line.median(Slice::per_second),
            line.median(|slice| slice.quantile(0.5)),
            line.median(|slice| slice.quantile(0.99)),
            cpu(|(service, _)| service),
            cpu(|(_, database)| database),
            line.errors(),
        );
    }
    for line in &cell.lines {
        let mut errors = line.slices.iter().filter_map(|s| s.first_error.as_deref());
        if let Some(error) = errors.next() {
            println!(
                "\n({}) had errors, the first: {error}",
                line.series.letter()
            );
        }
    }
}

#[derive(Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

struct Target {
    connections: usize,
    latency: f64,
    text: &'static str,
    of: Series,
    to: Series,
    what: fn(&Slice) -> f64,
    bound: Bound,
    stretch: Option<f64>,
}

fn p50(slice: &Slice) -> f64 {
    slice.quantile(0.5)
}

fn p99(slice: &Slice) -> f64 {
    slice.quantile(0.99)
}

#[rustfmt::skip]
const TARGETS: [Target; 8] = {
    use Bound::{AtLeast, AtMost};
    use Series::{Careful, CarefulWrite, Floor, FloorWrite, Read, Usual, Write};
    let rate: fn(&Slice) -> f64 = Slice::per_second;
    [
        Target { connections: 16, latency: 0.0, text: "(b) / (e), requests/s", of: Read, to: Usual, what: rate, bound: AtLeast(2.8), stretch: Some(3.2) },
        Target { connections: 16, latency: 0.0, text: "(b) / (f), requests/s", of: Read, to: Careful, what: rate, bound: AtLeast(1.25), stretch: Some(1.6) },
        Target { connections: 16, latency: 0.0, text: "(b) / (a), requests/s", of: Read, to: Floor, what: rate, bound: AtLeast(0.5), stretch: Some(0.6) },
        Target { connections: 16, latency: 0.0, text: "(c) / (fw), requests/s", of: Write, to: CarefulWrite, what: rate, bound: AtLeast(1.15), stretch: None },
        Target { connections: 16, latency: 0.0, text: "(b) / (f), p99", of: Read, to: Careful, what: p99, bound: AtMost(1.0), stretch: None },
        Target { connections: 1, latency: 1.0, text: "(b) / (f), requests/s", of: Read, to: Careful, what: rate, bound: AtLeast(2.5), stretch: None },
        Target { connections: 1, latency: 1.0, text: "(b) / (a), p50", of: Read, to: Floor, what: p50, bound: AtMost(1.15), stretch: None },
        Target { connections: 1, latency: 1.0, text: "(c) / (aw), p50", of: Write, to: FloorWrite, what: p50, bound: AtMost(2.15), stretch: None },
    ]
};

/// Compares what was measured with what is aimed at.
pub(crate) fn print_targets(cells: &[Cell]) {
    let measured = |cell: &Cell, target: &Target| {
        cell.connections == target.connections && cell.latency == target.latency
    };
    if !TARGETS
        .iter()
        .any(|target| cells.iter().any(|cell| measured(cell, target)))
    {
        return;
    }
    println!("\n### Targets\n");
    println!("| connections | added ms | | target | measured | rounds from .. to | met |");
    println!("|--:|--:|---|--:|--:|--:|---|");
    for target in &TARGETS {
        let Some(cell) = cells.iter().find(|cell| measured(cell, target)) else {
            continue;
        };
        let (Some(of), Some(to)) = (cell.line(target.of), cell.line(target.to)) else {
            continue;
        };
        let measured = of.ratio(to, target.what);
        let (least, most) = range(of, to, target.what);
        let (bound, met) = match target.bound {
            Bound::AtLeast(bound) => (format!("≥ {bound}"), measured >= bound),
            Bound::AtMost(bound) => (format!("≤ {bound}"), measured <= bound),
        };
        let verdict = match (met, target.stretch) {
            (false, _) => "no".to_owned(),
            (true, Some(stretch)) if measured >= stretch => {
                format!("yes, the stretch (≥ {stretch}) too")
            }
            (true, Some(stretch)) => format!("yes, the stretch (≥ {stretch}) not"),
            (true, None) => "yes".to_owned(),
        };
        println!(
            "| {} | {} | {} | {bound} | {measured:.2} | {least:.2} .. {most:.2} | {verdict} |",
            target.connections, target.latency, target.text,
        );
    }
}

fn range(of: &Line, to: &Line, what: fn(&Slice) -> f64) -> (f64, f64) {
    let pairs = of.slices.iter().zip(&to.slices);
    pairs
        .map(|(slice, other)| what(slice) / what(other))
        .fold((f64::INFINITY, 0.0), |(least, most), ratio| {
            (ratio.min(least), ratio.max(most))
        })
}

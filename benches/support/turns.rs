//! Measures tasks by themselves, and against each other in turns.

use std::time::{Duration, Instant};

use criterion::Criterion;

/// Something to measure.
pub(crate) type Task<'a> = (String, Box<dyn FnMut() + 'a>);

pub(crate) fn task<'a>(name: &str, run: impl FnMut() + 'a) -> Task<'a> {
    (name.to_owned(), Box::new(run))
}

/// Has criterion measure each task.
pub(crate) fn by_themselves(criterion: &mut Criterion, group: &str, tasks: Vec<Task<'_>>) {
    let mut group = criterion.benchmark_group(group);
    for (name, mut run) in tasks {
        group.bench_function(name, |bencher| bencher.iter(&mut run));
    }
    group.finish();
}

const TURNS: usize = 61;
const TURN: Duration = Duration::from_millis(4);

/// Measures tasks in turns, and prints how each compares with the first.
pub(crate) fn against_the_first(mut tasks: Vec<Task<'_>>) {
    let mut times = vec![1; tasks.len()];
    let mut took = vec![Vec::with_capacity(TURNS); tasks.len()];
    for turn in 0..=TURNS {
        for (at, (_, run)) in tasks.iter_mut().enumerate() {
            let start = Instant::now();
            let mut done = 0_u32;
            // The first turn finds out how often fits into one.
            while done < times[at] || (turn == 0 && start.elapsed() < TURN) {
                run();
                done += 1;
            }
            if turn == 0 {
                times[at] = done;
            } else {
                took[at].push(start.elapsed().as_nanos() as f64 / f64::from(done));
            }
        }
    }
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    for ((name, _), own) in tasks.iter().zip(&took) {
        let pairs = || own.iter().zip(&took[0]);
        let ratio = median(pairs().map(|(own, first)| own / first).collect());
        let more = median(pairs().map(|(own, first)| own - first).collect());
        let own = median(own.clone());
        println!("| {name} | {own:.0} ns | {ratio:.2} | {more:+.0} ns |");
    }
}

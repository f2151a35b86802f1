//! How much time the processors gave to the service and to PostgreSQL, as Linux tells it.
//!
//! Others' work on the machine takes time from all, but is not counted here. So on a busy machine these figures say more
//! than requests per second do.

use std::fs;

use crate::proxy;

/// Nanoseconds of processor time since each process began.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    /// This process and those that it started, without the thread that asks, which is the load generator's, and without
    /// the proxy.
    pub(crate) service: u64,
    /// PostgreSQL with all its sessions.
    pub(crate) database: u64,
}

impl Cpu {
    /// Returns none where there is no Linux.
    pub(crate) fn now() -> Option<Self> {
        let mut this = Self::default();
        let load = spent("/proc/thread-self")?;
        let own = std::process::id();
        let mut processes = vec![own];
        while let Some(process) = processes.pop() {
            let name = fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
            for task in fs::read_dir(format!("/proc/{process}/task"))
                .into_iter()
                .flatten()
                .flatten()
            {
                let task = task.path();
                let nanos = spent(&task.to_string_lossy()).unwrap_or(0);
                let thread = fs::read_to_string(task.join("comm")).unwrap_or_default();
                match name.trim_end() {
                    "postgres" => this.database += nanos,
                    _ if thread.trim_end() == proxy::THREAD => {}
                    _ => this.service += nanos,
                }
                let children = fs::read_to_string(task.join("children")).unwrap_or_default();
                processes.extend(
                    children
                        .split(' ')
                        .filter_map(|child| child.trim().parse::<u32>().ok()),
                );
            }
        }
        this.service = this.service.saturating_sub(load);
        Some(this)
    }

    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            service: self.service.saturating_sub(earlier.service),
            database: self.database.saturating_sub(earlier.database),
        }
    }
}

/// The first number of `schedstat` is the time on a processor.
fn spent(task: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("{task}/schedstat")).ok()?;
    text.split(' ').next()?.parse().ok()
}

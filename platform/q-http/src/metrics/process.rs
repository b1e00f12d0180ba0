//! What the process uses of its machine, read from where Linux tells it (proc(5), cgroups(7)).

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};
use serde::Serialize;

/// Memory, files, time and disk of this process; what the machine does not tell is left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Memory it holds, in bytes.
    pub resident_bytes: Option<u64>,
    /// Memory it may hold: the tightest of its control groups, or all the machine has.
    pub memory_limit_bytes: Option<u64>,
    /// Address space it has mapped.
    #[serde(skip)]
    pub virtual_bytes: Option<u64>,
    /// CPU time it has used, in seconds.
    pub cpu_seconds: Option<f64>,
    /// Its threads.
    pub threads: Option<u64>,
    /// Files and sockets it has open.
    pub open_files: Option<u64>,
    /// How many it may have open.
    pub open_files_max: Option<u64>,
    /// When it started, in seconds since 1970.
    #[serde(skip)]
    pub started_at_seconds: Option<f64>,
    /// Bytes free for it on the disk of the data folder.
    pub disk_free_bytes: Option<u64>,
    /// The size of that disk.
    pub disk_size_bytes: Option<u64>,
}

impl Usage {
    /// The usage now; `data` is the folder whose disk is looked at.
    pub fn now(data: Option<&Path>) -> Self {
        let mut usage = Self {
            memory_limit_bytes: memory_limit(),
            open_files: fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as u64),
            open_files_max: rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
            ..Self::default()
        };
        usage.read_statm();
        usage.read_stat();
        if let Some(disk) = data.and_then(|data| rustix::fs::statvfs(data).ok()) {
            usage.disk_free_bytes = Some(disk.f_bavail * disk.f_frsize);
            usage.disk_size_bytes = Some(disk.f_blocks * disk.f_frsize);
        }
        usage
    }

    fn read_statm(&mut self) {
        let page_bytes = rustix::param::page_size() as u64;
        let Ok(statm) = fs::read_to_string("/proc/self/statm") else { return };
        let mut pages =
            statm.split(' ').map(|pages| pages.parse::<u64>().ok().map(|pages| pages * page_bytes));
        self.virtual_bytes = pages.next().flatten();
        self.resident_bytes = pages.next().flatten();
    }

    #[expect(clippy::cast_precision_loss, reason = "seconds for people")]
    fn read_stat(&mut self) {
        let Ok(stat) = fs::read_to_string("/proc/self/stat") else { return };
        // The command name may hold spaces; the fields are counted from the parenthesis that closes it, the state,
        // which is field 3 of proc(5).
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3).and_then(|field| field.parse::<u64>().ok());
        let ticks_per_second = rustix::param::clock_ticks_per_second() as f64;
        if let (Some(user), Some(system)) = (field(14), field(15)) {
            self.cpu_seconds = Some((user + system) as f64 / ticks_per_second);
        }
        self.threads = field(20);
        let booted_at = fs::read_to_string("/proc/stat").ok().and_then(|stat| {
            stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<u64>().ok())
        });
        if let (Some(ticks), Some(booted_at)) = (field(22), booted_at) {
            self.started_at_seconds = Some(booted_at as f64 + ticks as f64 / ticks_per_second);
        }
    }
}

/// The tightest limit of the control groups this process is in (version 2), or what the machine has.
fn memory_limit() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|info| {
        let line = info.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1_024)
    });
    let group = fs::read_to_string("/proc/self/cgroup").ok().and_then(|groups| {
        // `0::/path`: the one hierarchy of version 2.
        groups.lines().find_map(|line| line.strip_prefix("0::/").map(PathBuf::from))
    });
    let limit_of = |group: &Path| -> Option<u64> {
        let limit = fs::read_to_string(Path::new("/sys/fs/cgroup").join(group).join("memory.max")).ok()?;
        limit.trim().parse().ok()
    };
    let limits = group.iter().flat_map(|group| group.ancestors()).filter_map(limit_of);
    limits.chain(machine).min()
}

/// The metrics every Prometheus client library has of its process, under their usual names, and the disk's.
pub(super) struct Collector {
    pub(super) data: Option<PathBuf>,
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("process")
    }
}

impl prometheus_client::collector::Collector for Collector {
    #[expect(clippy::cast_precision_loss, reason = "every sample of the format is a 64-bit float")]
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let usage = Usage::now(self.data.as_deref());
        let whole = |value: Option<u64>| value.map(|value| value as f64);
        if let Some(seconds) = usage.cpu_seconds {
            let help = "User and system CPU time used.";
            let counter =
                encoder.encode_descriptor("process_cpu_seconds", help, None, MetricType::Counter)?;
            ConstCounter::new(seconds).encode(counter)?;
        }
        for (name, help, value) in [
            ("process_resident_memory_bytes", "Resident memory.", whole(usage.resident_bytes)),
            ("process_virtual_memory_bytes", "Mapped address space.", whole(usage.virtual_bytes)),
            ("process_threads", "Threads.", whole(usage.threads)),
            ("process_open_fds", "Open file descriptors.", whole(usage.open_files)),
            ("process_max_fds", "File descriptors it may open.", whole(usage.open_files_max)),
            ("process_start_time_seconds", "Start, in seconds since 1970.", usage.started_at_seconds),
            (
                "q_memory_limit_bytes",
                "Memory it may hold, by its control groups or the machine.",
                whole(usage.memory_limit_bytes),
            ),
            ("q_disk_free_bytes", "Free on the disk of the data folder.", whole(usage.disk_free_bytes)),
            ("q_disk_size_bytes", "Size of the disk of the data folder.", whole(usage.disk_size_bytes)),
            (
                "http_connections_open",
                "Connections open in this process.",
                Some(super::open_connections() as f64),
            ),
        ] {
            let Some(value) = value else { continue };
            ConstGauge::new(value).encode(encoder.encode_descriptor(
                name,
                help,
                None,
                MetricType::Gauge,
            )?)?;
        }
        let spans = q_trace::counts();
        for (name, help, count) in [
            ("q_trace_spans_exported", "Spans that the collector took.", spans.exported),
            ("q_trace_spans_dropped", "Spans lost: no room, or not taken.", spans.dropped),
        ] {
            ConstCounter::new(count).encode(encoder.encode_descriptor(
                name,
                help,
                None,
                MetricType::Counter,
            )?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usage_of_this_process_is_plausible() {
        let usage = Usage::now(Some(Path::new("/")));
        let resident = usage.resident_bytes.unwrap();
        assert!(resident > 1 << 20 && resident < usage.memory_limit_bytes.unwrap(), "{usage:?}");
        assert!(usage.virtual_bytes.unwrap() >= resident, "{usage:?}");
        assert!(usage.open_files.unwrap() >= 3 && usage.open_files.unwrap() < usage.open_files_max.unwrap());
        assert!(usage.threads.unwrap() >= 1 && usage.cpu_seconds.unwrap() >= 0.0, "{usage:?}");
        assert!(usage.disk_free_bytes.unwrap() <= usage.disk_size_bytes.unwrap(), "{usage:?}");
        // After 2020, before 2100.
        assert!((1.6e9..4.1e9).contains(&usage.started_at_seconds.unwrap()), "{usage:?}");
    }
}

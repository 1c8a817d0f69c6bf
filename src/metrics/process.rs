//! What the kernel says of this process (proc(5)); nothing on systems without `/proc`.

/// What the process uses.
pub(super) struct Usage {
    pub(super) resident_bytes: f64,
    pub(super) open_files: f64,
    pub(super) cpu_seconds: f64,
}

/// Reads it now.
pub(super) fn usage() -> Option<Usage> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: f64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    let open_files = std::fs::read_dir("/proc/self/fd").ok()?.count() as f64;
    Some(Usage { resident_bytes: pages * rustix::param::page_size() as f64, open_files, cpu_seconds: cpu_seconds()? })
}

/// Fields 14 and 15, counted after the name, which may hold anything.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    let ticks: Vec<f64> = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    let ticks_a_second = rustix::param::clock_ticks_per_second() as f64;
    Some(ticks.iter().sum::<f64>() / ticks_a_second)
}

#[cfg(test)]
mod tests {
    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_uses_something() {
        let usage = super::usage().unwrap();
        assert!(usage.resident_bytes > 100_000.0 && usage.open_files >= 3.0 && usage.cpu_seconds >= 0.0);
    }
}

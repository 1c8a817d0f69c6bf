//! A small disk of its own, which a test fills: a tmpfs, where mounting is allowed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Bytes that are written at once while a disk is filled.
const BLOCK_BYTES: usize = 4_096;

/// A small disk, gone when dropped.
#[derive(Debug)]
pub(crate) struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts one over a directory; none, and a notice that can't be missed, where the system does not allow it.
    pub(crate) fn over(path: &Path, mebibytes: u32) -> Option<SmallDisk> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m,mode=777"), "tmpfs"]).arg(path);
        let output = mount.output();
        if output.as_ref().is_ok_and(|output| output.status.success()) {
            return Some(SmallDisk { path: path.to_owned() });
        }
        let said = output.map(|output| String::from_utf8_lossy(&output.stderr).into_owned()).unwrap_or_else(|error| error.to_string());
        eprintln!("\n*** SKIPPED: a full disk can't be tested here, since mounting is not allowed: {} ***\n", said.trim());
        None
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves no room at all.
    pub(crate) fn fill(&self) {
        let file = fs::File::create(self.filler()).expect("a file");
        let block = [0; BLOCK_BYTES];
        while std::io::Write::write_all(&mut &file, &block).is_ok() {}
    }

    /// Makes room again.
    pub(crate) fn free(&self) {
        fs::remove_file(self.filler()).expect("the file that filled it");
    }

    fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _it_is_gone_with_the_machine = Command::new("umount").arg("--lazy").arg(&self.path).output();
    }
}

/// Takes the right to write from a directory and what is in it, or gives it back.
pub(crate) fn set_writable(directory: &Path, is_writable: bool) {
    let set = |path: &Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("permissions");
    for entry in fs::read_dir(directory).expect("a directory").flatten() {
        set(&entry.path(), if is_writable { 0o600 } else { 0o400 });
    }
    set(directory, if is_writable { 0o700 } else { 0o500 });
}

//! The data directory of a fresh database server, made once and unpacked for each server: making one takes seconds.
//!
//! The template lives among the build's own temporary files, named by the server's version, and comes into being by a rename: any number of
//! test processes may want it at the same time.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::{Directory, User, run};

/// The archive of a data directory that `make` fills (the directory `data` in the one it is given).
pub(crate) fn cached(server: &str, version: &str, make: fn(&Directory)) -> PathBuf {
    let readable = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let version: String = version.trim().chars().map(readable).collect();
    let archive = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{server}-{version}.tar"));
    if !archive.exists() {
        build(server, &archive, make);
    }
    archive
}

fn build(server: &str, archive: &Path, make: fn(&Directory)) {
    let directory = Directory::new(User::first_of(&[server, "nobody"]));
    make(&directory);
    let unfinished = archive.with_extension(std::process::id().to_string());
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(directory.path());
    tar.arg("-cf").arg(&unfinished).arg("data");
    run(tar);
    std::fs::rename(unfinished, archive).expect("name the template");
}

/// Unpacks the archive's `data` into a directory of that name, which will belong to the directory's user.
pub(crate) fn unpack(archive: &Path, directory: &Directory, name: &str) {
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(directory.path()).arg("-xf").arg(archive);
    run(tar);
    directory.give_all(name);
}

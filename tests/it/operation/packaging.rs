//! What the Debian package and the units of systemd say of themselves.

use std::path::{Path, PathBuf};
use std::process::Command;

use toml::{Table, Value};

use crate::support::process::Directory;

const UNITS: [(&str, &str); 2] = [("xmpp-archiver.service", "run"), ("xmpp-archiver-web.service", "web")];
const PROGRAM: &str = "/usr/bin/xmpp-archiver";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn unit(name: &str) -> String {
    std::fs::read_to_string(root().join("packaging/systemd").join(name)).expect("a unit")
}

/// `[package.metadata.deb]`.
fn package() -> Table {
    let text = std::fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let manifest: Value = toml::from_str(&text).expect("TOML");
    manifest["package"]["metadata"]["deb"].as_table().expect("a table").clone()
}

/// Source, directory and mode of each asset.
fn assets() -> Vec<[String; 3]> {
    let list = package()["assets"].as_array().expect("a list").clone();
    list.into_iter().map(|asset| asset.try_into().expect("three texts")).collect()
}

/// Whether a name of the form `directory/*.ending` or `directory/name` means this file.
fn means(pattern: &str, file: &Path) -> bool {
    match pattern.split_once('*') {
        None => root().join(pattern) == file,
        Some((directory, ending)) => {
            file.parent() == Some(&root().join(directory.trim_end_matches('/'))) && file.display().to_string().ends_with(ending)
        }
    }
}

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

#[test]
fn systemd_takes_the_units() {
    let directory = Directory::new(None);
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no", "--recursive-errors=no"]);
    for (name, command) in UNITS {
        let text = unit(name);
        assert!(text.contains(&format!("\nExecStart={PROGRAM} {command} --config /etc/xmpp-archiver/archiver.toml\n")), "{name}");
        // It is not installed where the tests run.
        verify.arg(directory.write(name, &text.replace(PROGRAM, env!("CARGO_BIN_EXE_xmpp-archiver"))));
    }
    let output = verify.output().expect("systemd-analyze (Debian: systemd)");
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    // What it does not know it ignores, and only says so.
    assert!(output.status.success() && UNITS.iter().all(|(name, _)| !said.contains(name)), "{said}");
}

#[test]
fn both_units_are_hardened_alike() {
    let [first, second] = UNITS.map(|(name, _)| {
        let text = unit(name);
        let lines = text.split_once("\nUser=").expect("a user").1.lines().filter(|line| !line.starts_with('#')).map(str::to_owned);
        lines.collect::<Vec<_>>()
    });
    assert_eq!(first, second);
    assert!(first.len() > 30 && first.contains(&"WorkingDirectory=/var/lib/xmpp-archiver".to_owned()), "{first:?}");
}

#[test]
fn the_package_holds_what_it_should_and_starts_nothing() {
    let (package, assets) = (package(), assets());
    let units = &package["systemd-units"];
    assert_eq!((units["enable"].as_bool(), units["start"].as_bool()), (Some(false), Some(false)));
    for script in ["postinst", "postrm"] {
        let text = std::fs::read_to_string(root().join("packaging/deb").join(script)).expect("a script");
        assert!(text.contains("\n#DEBHELPER#\n") && !text.contains("systemctl") && !text.contains("invoke"), "{script}");
    }
    let installed = |file: &Path| {
        assets.iter().find(|[source, ..]| means(source, file)).map(|[_, directory, mode]| (directory.as_str(), mode.as_str()))
    };
    // cargo-deb looks for the first unit itself, by its name.
    assert_eq!(units["unit-name"].as_str(), Some("xmpp-archiver"));
    let console = root().join("packaging/systemd/xmpp-archiver-web.service");
    assert_eq!(installed(&console), Some(("usr/lib/systemd/system/", "644")));
    let mut modules = Vec::new();
    files(&root().join("node-modules"), &mut modules);
    assert!(modules.len() > 10);
    for module in &modules {
        let below = module.strip_prefix(root()).expect("a file of ours").parent().expect("a directory").display();
        let mode = if module.ends_with("install.sh") { "755" } else { "644" };
        assert_eq!(installed(module), Some((format!("usr/share/xmpp-archiver/{below}/").as_str(), mode)), "{}", module.display());
    }
    let mut all = Vec::new();
    ["docs", "examples", "packaging"].iter().for_each(|directory| files(&root().join(directory), &mut all));
    all.extend(modules);
    all.extend(["README.md", "CHANGELOG.md", "migrations/README.md"].map(|file| root().join(file)));
    // What the script stages is made when the package is.
    for [source, ..] in assets.iter().filter(|[source, ..]| !source.starts_with("target/")) {
        assert!(all.iter().any(|file| means(source, file)), "{source} means no file");
    }
}

//! From a path to a [`Config`]: finds the file, parses it, lays the environment over it, reads the settings.

use std::ffi::OsString;
use std::fs::File as FsFile;
use std::io::Read;
use std::path::{Path, PathBuf};

use config::{ConfigError, File, FileFormat, Map, Source, Value, ValueKind};

use super::defaults::{FILE_BYTES, STORE_NAME, STORE_URL};
use super::mistake::{ConfigErrors, Mistake};
use super::{Config, environment, read};

/// Where a configuration is looked for when no path is given, first to last.
pub const SEARCHED_FILES: [&str; 2] = ["archiver.toml", "/etc/xmpp-archiver/archiver.toml"];

impl Config {
    /// Loads the configuration from a file, or from the first of [`SEARCHED_FILES`] that exists, or from none; with the
    /// environment over it.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigErrors> {
        let file = path.map(Path::to_path_buf).or_else(searched_file);
        let text = match &file {
            None => String::new(),
            Some(file) => {
                read_text(file).map_err(|right| ConfigErrors { file: Some(file.clone()), mistakes: vec![Mistake::at("", right)] })?
            }
        };
        Self::from_text(&text, file, std::env::vars_os())
    }

    /// Loads the configuration from a text and variables; `file` is where the text came from.
    pub fn from_text(
        text: &str,
        file: Option<PathBuf>,
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigErrors> {
        let mut root = match parse(text) {
            Ok(root) => root,
            Err(right) => {
                let mistakes = vec![Mistake::at("", right)];
                return Err(ConfigErrors { file, mistakes });
            }
        };
        let mut mistakes = Vec::new();
        add_default_store(&mut root);
        environment::merge(&mut root, variables, &mut mistakes);
        let read = read::read(root, &mut mistakes);
        let Some(mut config) = read.config.filter(|_| mistakes.is_empty()) else {
            return Err(ConfigErrors { file, mistakes });
        };
        config.file = file;
        if read.secret_in_file {
            config.warnings.extend(readable_by_all(config.file.as_deref()));
        }
        Ok(config)
    }
}

fn searched_file() -> Option<PathBuf> {
    SEARCHED_FILES.iter().map(PathBuf::from).find(|path| path.exists())
}

fn read_text(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    FsFile::open(path)
        .and_then(|file| file.take(FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("can't be read: {error}"))?;
    if bytes.len() as u64 > FILE_BYTES {
        return Err("is larger than 16 MiB".to_owned());
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(_) => Err("must be UTF-8".to_owned()),
    }
}

fn parse(text: &str) -> Result<Map<String, Value>, String> {
    File::from_str(text, FileFormat::Toml).collect().map_err(|error| syntax_mistake(&error, text))
}

/// Where the syntax is wrong, by line. The parser's own message repeats the line, which may hold a secret.
fn syntax_mistake(error: &ConfigError, text: &str) -> String {
    let cause = match error {
        ConfigError::FileParse { cause, .. } => cause.downcast_ref::<toml::de::Error>(),
        _ => None,
    };
    let Some(cause) = cause else {
        return "is not TOML: a number is too large".to_owned();
    };
    let before = cause.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    format!("is not TOML: line {line}: {}", cause.message())
}

/// Where no store is configured there is one, before the environment is laid over it so that this can change it.
fn add_default_store(root: &mut Map<String, Value>) {
    let none = match root.get("store").map(|value| &value.kind) {
        None => true,
        Some(ValueKind::Array(stores)) => stores.is_empty(),
        Some(_) => false,
    };
    if none {
        let mut store: Map<String, Value> = Map::new();
        store.insert("name".to_owned(), STORE_NAME.into());
        store.insert("url".to_owned(), STORE_URL.into());
        let stores = vec![Value::new(None, store)];
        root.insert("store".to_owned(), Value::new(None, stores));
    }
}

/// A warning if everybody on this machine can read the file.
#[cfg(unix)]
fn readable_by_all(file: Option<&Path>) -> Option<String> {
    use std::os::unix::fs::PermissionsExt;
    const READ_BY_OTHERS: u32 = 0o004;
    let file = file?;
    let mode = std::fs::metadata(file).ok()?.permissions().mode();
    (mode & READ_BY_OTHERS != 0)
        .then(|| format!("{} holds secrets and can be read by everybody: chmod o-r, or use secret_file or secret_env", file.display()))
}

/// Elsewhere there are no such permission bits.
#[cfg(not(unix))]
fn readable_by_all(_file: Option<&Path>) -> Option<String> {
    None
}

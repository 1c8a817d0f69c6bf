//! Writing results, to standard output or to a file, in a way that survives a reader who has seen enough.
//!
//! `xmpp-archiver search | head` closes the pipe early. `println!` would panic; here it becomes [`Failure::OutputClosed`], which
//! runs up through `?` and ends the program quietly with 0.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::Failure;

/// Where results go.
pub struct Output {
    writer: BufWriter<Box<dyn Write>>,
    name: String,
}

impl Output {
    /// Standard output.
    pub fn stdout() -> Self {
        Self::new(Box::new(io::stdout()), "standard output".to_owned())
    }

    /// A new file, or the old one emptied. Where the system knows it, only the owner can read a new one, since it holds what people said.
    pub fn file(path: &Path) -> Result<Self, Failure> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let name = path.display().to_string();
        match options.open(path) {
            Ok(file) => Ok(Self::new(Box::new(file), name)),
            Err(error) => Err(failure(&name, error)),
        }
    }

    /// The file, or standard output where none is named.
    pub fn file_or_stdout(path: Option<&Path>) -> Result<Self, Failure> {
        path.map_or_else(|| Ok(Self::stdout()), Self::file)
    }

    fn new(writer: Box<dyn Write>, name: String) -> Self {
        let writer = BufWriter::new(writer);
        Self { writer, name }
    }

    /// Writes the bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.writer.write_all(bytes).map_err(|error| failure(&self.name, error))
    }

    /// Writes the text and ends the line.
    pub fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.write(text.as_bytes())?;
        self.write(b"\n")
    }

    /// Hands on what is buffered. Must be called at the end: a failure that comes when the buffer is dropped is never seen.
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.writer.flush().map_err(|error| failure(&self.name, error))
    }
}

fn failure(name: &str, error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::OutputClosed,
        _ => Failure::Output(name.to_owned(), error),
    }
}

/// Prints a text to standard output.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut output = Output::stdout();
    output.write(text.as_bytes())?;
    output.flush()
}

/// Tells a person something on standard error; there is nobody to tell if that fails.
pub fn tell(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_ends_quietly() {
        let mut output = Output::new(Box::new(Closed), "a pipe".to_owned());
        output.line("kept in the buffer").unwrap();
        let failure = output.flush().unwrap_err();
        assert!(matches!(failure, Failure::OutputClosed));
        assert_eq!(failure.exit_code(), 0);
    }

    #[test]
    fn a_file_holds_what_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        let mut output = Output::file(&path).unwrap();
        output.line("one").unwrap();
        output.flush().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\n");
        let nowhere = Output::file(&directory.path().join("none/out")).err().unwrap();
        assert_eq!(nowhere.exit_code(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_is_for_its_owner() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        Output::file(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0);
    }
}

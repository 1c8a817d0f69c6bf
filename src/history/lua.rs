//! The tables that Prosody's internal storage writes: a small part of Lua, read without running any.
//!
//! A value is a string, a number, a truth value or a table; a table has named values and values in a row. Nothing nests deeper than [`MAX_DEPTH`].

use std::collections::BTreeMap;

/// How deep tables may nest: a stanza is no deeper, and a hostile one must not overflow the stack.
const MAX_DEPTH: usize = 200;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Bytes: Lua knows no encoding.
    Text(Vec<u8>),
    /// As it is written.
    Number(String),
    /// True or false.
    Truth(bool),
    /// nil.
    Nil,
    /// A table.
    Table(Table),
}

/// A table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// Named values.
    pub named: BTreeMap<Vec<u8>, Value>,
    /// Values in a row.
    pub row: Vec<Value>,
}

impl Table {
    /// A named text.
    pub fn text(&self, name: &str) -> Option<String> {
        match self.named.get(name.as_bytes())? {
            Value::Text(text) => Some(String::from_utf8_lossy(text).into_owned()),
            Value::Number(number) => Some(number.clone()),
            _ => None,
        }
    }

    /// A named table.
    pub fn table(&self, name: &str) -> Option<&Table> {
        match self.named.get(name.as_bytes())? {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }
}

/// Reads a value after another from a text.
pub struct Parser<'t> {
    rest: &'t [u8],
}

impl<'t> Parser<'t> {
    /// A parser at the begin of a text.
    pub fn new(text: &'t [u8]) -> Self {
        Self { rest: text }
    }

    /// The next `item(…);`: none at the end.
    ///
    /// # Errors
    /// When what stands there is no item. The parser then stands behind it, as far as that can be told.
    pub fn item(&mut self) -> Option<Result<Table, String>> {
        self.space();
        if self.rest.is_empty() {
            return None;
        }
        let begin = self.rest;
        let read = self.call();
        if read.is_err() {
            // Items begin at the begin of a line.
            let next = memchr::memmem::find(begin.get(1..).unwrap_or_default(), b"\nitem(").map(|at| at + 2);
            self.rest = next.and_then(|at| begin.get(at..)).unwrap_or_default();
        }
        Some(read)
    }

    fn call(&mut self) -> Result<Table, String> {
        self.expect(b"item(")?;
        let Value::Table(table) = self.value(0)? else { return Err("an item that is no table".to_owned()) };
        self.space();
        self.expect(b")")?;
        self.space();
        if self.rest.first() == Some(&b';') {
            self.skip(1);
        }
        Ok(table)
    }

    fn expect(&mut self, text: &[u8]) -> Result<(), String> {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                Ok(())
            }
            None => Err(format!("{:?} expected", String::from_utf8_lossy(text))),
        }
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    fn space(&mut self) {
        let blank = self.rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        self.skip(blank);
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        self.space();
        match self.rest.first() {
            Some(b'{') if depth < MAX_DEPTH => self.table(depth + 1).map(Value::Table),
            Some(b'{') => Err("too deep".to_owned()),
            Some(quote @ (b'"' | b'\'')) => self.string(*quote).map(Value::Text),
            Some(b'-' | b'0'..=b'9' | b'(') => Ok(Value::Number(self.word())),
            _ => match self.word().as_str() {
                "true" => Ok(Value::Truth(true)),
                "false" => Ok(Value::Truth(false)),
                "nil" => Ok(Value::Nil),
                _ => Err("a value expected".to_owned()),
            },
        }
    }

    fn word(&mut self) -> String {
        let length = self.rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"_.+-()/".contains(byte)).count();
        let word = String::from_utf8_lossy(self.rest.get(..length).unwrap_or_default()).into_owned();
        self.skip(length);
        word
    }

    fn table(&mut self, depth: usize) -> Result<Table, String> {
        self.expect(b"{")?;
        let mut table = Table::default();
        loop {
            self.space();
            match self.rest.first() {
                Some(b'}') => {
                    self.skip(1);
                    return Ok(table);
                }
                Some(b'[') => {
                    self.skip(1);
                    let key = self.value(depth)?;
                    self.space();
                    self.expect(b"]")?;
                    self.space();
                    self.expect(b"=")?;
                    let value = self.value(depth)?;
                    table.put(key, value);
                }
                Some(byte) if byte.is_ascii_alphabetic() || *byte == b'_' => self.bare_name(&mut table, depth)?,
                Some(_) => table.row.push(self.value(depth)?),
                None => return Err("a table without an end".to_owned()),
            }
            self.space();
            if matches!(self.rest.first(), Some(b';' | b',')) {
                self.skip(1);
            }
        }
    }

    /// `name = value`, or one of the words that are values.
    fn bare_name(&mut self, table: &mut Table, depth: usize) -> Result<(), String> {
        let word = self.word();
        self.space();
        if self.rest.first() == Some(&b'=') {
            self.skip(1);
            let value = self.value(depth)?;
            table.named.insert(word.into_bytes(), value);
            return Ok(());
        }
        match word.as_str() {
            "true" => table.row.push(Value::Truth(true)),
            "false" => table.row.push(Value::Truth(false)),
            "nil" => table.row.push(Value::Nil),
            _ => return Err("a name without a value".to_owned()),
        }
        Ok(())
    }

    fn string(&mut self, quote: u8) -> Result<Vec<u8>, String> {
        self.skip(1);
        let mut text = Vec::new();
        loop {
            let plain = self.rest.iter().take_while(|byte| **byte != quote && **byte != b'\\').count();
            text.extend(self.rest.get(..plain).unwrap_or_default());
            self.skip(plain);
            match self.rest.first() {
                Some(b'\\') => self.escape(&mut text)?,
                Some(_) => {
                    self.skip(1);
                    return Ok(text);
                }
                None => return Err("a text without an end".to_owned()),
            }
        }
    }

    fn escape(&mut self, text: &mut Vec<u8>) -> Result<(), String> {
        self.skip(1);
        let Some(byte) = self.rest.first().copied() else { return Err("a text without an end".to_owned()) };
        if byte.is_ascii_digit() {
            let digits = self.rest.iter().take(3).take_while(|byte| byte.is_ascii_digit()).count();
            let number = String::from_utf8_lossy(self.rest.get(..digits).unwrap_or_default()).parse::<u8>();
            text.push(number.map_err(|_too_large| "a byte over 255".to_owned())?);
            self.skip(digits);
            return Ok(());
        }
        if byte == b'x' {
            let hex = String::from_utf8_lossy(self.rest.get(1..3).unwrap_or_default()).into_owned();
            text.push(u8::from_str_radix(&hex, 16).map_err(|_no_hex| "no hexadecimal number".to_owned())?);
            self.skip(3);
            return Ok(());
        }
        text.push(match byte {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'a' => 7,
            b'b' => 8,
            b'f' => 12,
            b'v' => 11,
            other => other,
        });
        self.skip(1);
        Ok(())
    }
}

impl Table {
    fn put(&mut self, key: Value, value: Value) {
        match key {
            Value::Text(name) => {
                self.named.insert(name, value);
            }
            // Rows are written in their order.
            _ => self.row.push(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_read_one_after_another() {
        let text = b"item({ [\"a\"] = \"x\\\"\\10\\226\\130\\172\\x41\\\\\"; b = 17.5; { 'in', true }; [1] = nil; });\nitem({});\n";
        let mut parser = Parser::new(text);
        let first = parser.item().unwrap().unwrap();
        assert_eq!((first.text("a").as_deref(), first.text("b").as_deref()), (Some("x\"\n\u{20ac}A\\"), Some("17.5")));
        let inner = Table { row: vec![Value::Text(b"in".to_vec()), Value::Truth(true)], ..Table::default() };
        assert_eq!(first.row, [Value::Table(inner), Value::Nil]);
        assert_eq!(parser.item().unwrap().unwrap(), Table::default());
        assert!(parser.item().is_none());
    }

    #[test]
    fn what_is_no_item_costs_one_item() {
        let mut parser = Parser::new(b"item({ [\"a\"] = os.execute(\"x\") });\nitem({ a = 1 });\nitem({ \"cut");
        assert!(parser.item().unwrap().is_err());
        assert_eq!(parser.item().unwrap().unwrap().text("a").as_deref(), Some("1"));
        assert!(parser.item().unwrap().is_err());
        assert!(parser.item().is_none());
    }

    #[test]
    fn depth_is_bounded() {
        let deep = [b"item(".to_vec(), b"{".repeat(100_000)].concat();
        assert!(Parser::new(&deep).item().unwrap().is_err());
    }
}

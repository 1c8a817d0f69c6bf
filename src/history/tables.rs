//! Another product's table in a live database.

use super::SourceError;
use super::sql::{Asked, Order, SqlSource};
use super::table::{Kind, Reader};
use crate::store::foreign::Foreign;

/// The table of this kind, or the one named.
///
/// # Errors
/// When it can't be read, or lacks a column that must be there.
pub async fn open(
    mut db: Foreign,
    kind: Kind,
    name: Option<&str>,
    reader: Reader,
    position: Option<&str>,
) -> Result<SqlSource<Reader>, SourceError> {
    let table = db.table(name.unwrap_or(kind.table())).await?;
    let columns: Vec<Option<String>> = kind.columns().iter().map(|name| table.column(name).map(|name| db.quoted(name))).collect();
    let missing = kind.columns().iter().zip(&columns).take(3).find(|(_, column)| column.is_none());
    if let Some((name, _)) = missing {
        return Err(SourceError::Mistaken(format!("the table {} has no column {name}: is it {}'s?", table.name, kind.name())));
    }
    let time = columns.get(2).cloned().flatten().unwrap_or_default();
    let number = table.column("msg_id").filter(|_| kind == Kind::CiscoTc).map(|name| db.quoted(name));
    let order = match number {
        Some(number) => Order::Keys(vec![number]),
        None => Order::Time(time.clone(), columns.iter().flatten().filter(|column| **column != time).cloned().collect()),
    };
    let asked = Asked {
        table: db.quoted(&table.name),
        columns: columns.into_iter().map(|column| column.unwrap_or_else(|| "NULL".to_owned())).collect(),
        condition: None,
        order,
    };
    SqlSource::new(db, asked, reader, position)
}

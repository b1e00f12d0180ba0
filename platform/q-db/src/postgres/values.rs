//! Values to and from PostgreSQL's binary format.

use std::error::Error as StdError;

use bytes::BytesMut;
use postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use crate::{Column, ColumnType, DbError, Row, Value};

type BoxError = Box<dyn StdError + Sync + Send>;

/// The parameter does not fit the type the statement wants.
#[derive(Debug, thiserror::Error)]
#[error("a parameter does not fit the type {0} that the statement wants")]
struct WrongType(String);

impl ToSql for Value {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
        let wrong = || WrongType(kind.name().to_owned());
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Integer(number) => match *kind {
                Type::INT8 => number.to_sql(kind, out),
                Type::INT4 => i32::try_from(*number)?.to_sql(kind, out),
                Type::INT2 => i16::try_from(*number)?.to_sql(kind, out),
                _ => Err(wrong().into()),
            },
            Self::Text(text) if <&str as ToSql>::accepts(kind) => text.to_sql(kind, out),
            Self::Bytes(bytes) if *kind == Type::BYTEA => bytes.to_sql(kind, out),
            Self::Text(_) | Self::Bytes(_) => Err(wrong().into()),
        }
    }

    fn accepts(_: &Type) -> bool {
        true // `to_sql` decides by the value
    }

    to_sql_checked!();
}

/// Anything a column can hold, in its raw form.
struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, BoxError> {
        Ok(Self(raw))
    }
    fn accepts(_: &Type) -> bool {
        true
    }
}

/// A row of the wire as a row of ours.
pub(super) fn owned(row: &postgres::Row) -> Result<Row, DbError> {
    let values = row
        .columns()
        .iter()
        .enumerate()
        .map(|(index, column)| {
            let bad = DbError::BadRow { column: index, expected: "an integer, a text or bytes" };
            match row.try_get::<_, Option<Raw<'_>>>(index) {
                Ok(None) => Ok(Value::Null),
                Ok(Some(Raw(raw))) => value(column.type_(), raw).ok_or(bad),
                Err(_) => Err(bad),
            }
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Row::new(values))
}

fn value(kind: &Type, raw: &[u8]) -> Option<Value> {
    Some(match *kind {
        Type::INT8 => Value::Integer(i64::from_be_bytes(raw.try_into().ok()?)),
        Type::INT4 => Value::Integer(i32::from_be_bytes(raw.try_into().ok()?).into()),
        Type::INT2 => Value::Integer(i16::from_be_bytes(raw.try_into().ok()?).into()),
        Type::BOOL => Value::Integer((*raw.first()?).into()),
        Type::NUMERIC => Value::Integer(integer(raw)?),
        Type::BYTEA => Value::Bytes(raw.to_vec()),
        // What is left arrives as its characters: TEXT, VARCHAR, NAME, and literals of unknown type.
        _ => Value::Text(String::from_utf8(raw.to_vec()).ok()?),
    })
}

/// A whole `numeric` as an integer: the type of `SUM` over a BIGINT column, where SQLite has an integer.
///
/// The wire format is: number of digits, weight of the first, sign, scale, then digits of base 10,000.
fn integer(raw: &[u8]) -> Option<i64> {
    let word =
        |index: usize| raw.get(2 * index..2 * index + 2).map(|pair| i16::from_be_bytes([pair[0], pair[1]]));
    let (count, weight, sign, scale) = (word(0)?, word(1)?, word(2)?, word(3)?);
    if scale != 0 || !matches!(sign, 0 | 0x4000) {
        return None;
    }
    let mut total: i128 = 0;
    for place in 0..=weight {
        let digit = if place < count { word(4 + usize::try_from(place).ok()?)? } else { 0 };
        total = total.checked_mul(10_000)?.checked_add(digit.into())?;
    }
    i64::try_from(if sign == 0 { total } else { -total }).ok()
}

/// One column of many rows, as an array parameter.
pub(super) fn array<R: AsRef<[Value]>>(
    column: Column,
    index: usize,
    rows: &[R],
) -> Box<dyn ToSql + Sync + '_> {
    let cells = rows.iter().map(|row| row.as_ref().get(index));
    match column.kind {
        ColumnType::Integer => Box::new(
            cells
                .map(|cell| if let Some(Value::Integer(number)) = cell { Some(*number) } else { None })
                .collect::<Vec<_>>(),
        ),
        ColumnType::Text => Box::new(
            cells
                .map(|cell| if let Some(Value::Text(text)) = cell { Some(text.as_str()) } else { None })
                .collect::<Vec<_>>(),
        ),
        ColumnType::Bytes => Box::new(
            cells
                .map(|cell| if let Some(Value::Bytes(bytes)) = cell { Some(bytes.as_slice()) } else { None })
                .collect::<Vec<_>>(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::integer;

    #[test]
    fn reads_whole_numerics() {
        let numeric = |words: &[i16]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
        assert_eq!(integer(&numeric(&[0, 0, 0, 0])), Some(0));
        assert_eq!(integer(&numeric(&[1, 0, 0, 0, 42])), Some(42));
        assert_eq!(integer(&numeric(&[1, 1, 0, 0, 3])), Some(30_000));
        assert_eq!(integer(&numeric(&[2, 1, 0x4000, 0, 1, 2])), Some(-10_002));
        assert_eq!(integer(&numeric(&[1, 0, 0, 2, 5])), None, "a fraction is not an integer");
        assert_eq!(integer(&numeric(&[1, 9, 0, 0, 1])), None, "more than 64 bits");
    }
}

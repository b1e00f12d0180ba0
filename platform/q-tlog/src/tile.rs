//! Names of the static resources of a log (c2sp.org/tlog-tiles).

use std::{fmt, fmt::Write as _, str::FromStr};

/// Hashes in a full tile, entries in a full bundle.
pub const TILE_WIDTH: u16 = 256;

/// The highest level a 64-bit tree can have; the specification allows up to 63 in a path.
const LEVEL_MAX: u8 = 63;

/// The largest tile index that still fits a 64-bit leaf index at level 0.
const INDEX_MAX: u64 = u64::MAX >> 8;

/// Which hashes: `width` of them at `level`, beginning with number `index * 256`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TileId {
    /// 0 for leaf hashes; a hash at level `l` covers `256^l` leaves.
    pub level: u8,
    /// Counted within the level.
    pub index: u64,
    /// 1 to 256; below 256 the tile is partial.
    pub width: u16,
}

/// What a path under the prefix of a log names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogResource {
    /// The newest signed tree head.
    Checkpoint,
    /// Hashes.
    Tile(TileId),
    /// Entries `index * 256` and following.
    Entries {
        /// The number of the bundle.
        index: u64,
        /// 1 to 256.
        width: u16,
    },
}

/// The path is not one of the specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a path of a tiled log, such as tile/0/x001/234.p/17 or tile/entries/000")]
pub struct TilePathError;

impl TileId {
    /// How many hashes a tree of `size` leaves has in tile `index` of `level`: 0 to 256.
    pub fn width_at(level: u8, index: u64, size: u64) -> u16 {
        let hashes_at_level = size.checked_shr(8 * u32::from(level)).unwrap_or(0);
        let before = index.saturating_mul(u64::from(TILE_WIDTH));
        let width = hashes_at_level.saturating_sub(before).min(u64::from(TILE_WIDTH));
        u16::try_from(width).expect("at most 256")
    }

    /// Every non-empty tile of a tree of `size` leaves.
    pub fn all_at(size: u64) -> impl Iterator<Item = Self> {
        (0..8_u8).flat_map(move |level| {
            let hashes = size.checked_shr(8 * u32::from(level)).unwrap_or(0);
            (0..hashes.div_ceil(u64::from(TILE_WIDTH))).map(move |index| Self {
                level,
                index,
                width: Self::width_at(level, index, size),
            })
        })
    }
}

impl fmt::Display for TileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tile/{}/", self.level)?;
        write_position(f, self.index, self.width)
    }
}

impl fmt::Display for LogResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checkpoint => f.write_str("checkpoint"),
            Self::Tile(id) => id.fmt(f),
            Self::Entries { index, width } => {
                f.write_str("tile/entries/")?;
                write_position(f, *index, *width)
            }
        }
    }
}

impl FromStr for LogResource {
    type Err = TilePathError;
    fn from_str(path: &str) -> Result<Self, TilePathError> {
        if path == "checkpoint" {
            return Ok(Self::Checkpoint);
        }
        let rest = path.strip_prefix("tile/").ok_or(TilePathError)?;
        let (kind, position) = rest.split_once('/').ok_or(TilePathError)?;
        let (index, width) = read_position(position)?;
        if kind == "entries" {
            return Ok(Self::Entries { index, width });
        }
        let level = read_number(kind, u64::from(LEVEL_MAX)).and_then(|level| u8::try_from(level).ok());
        Ok(Self::Tile(TileId { level: level.ok_or(TilePathError)?, index, width }))
    }
}

/// `x001/x234/067`, with `.p/W` when partial.
fn write_position(f: &mut fmt::Formatter<'_>, index: u64, width: u16) -> fmt::Result {
    let mut groups = vec![index % 1000];
    let mut rest = index / 1000;
    while rest > 0 {
        groups.push(rest % 1000);
        rest /= 1000;
    }
    let mut text = String::new();
    for (place, group) in groups.iter().enumerate().rev() {
        write!(text, "{}{group:03}", if place == 0 { "" } else { "x" })?;
        if place > 0 {
            text.push('/');
        }
    }
    f.write_str(&text)?;
    if width < TILE_WIDTH { write!(f, ".p/{width}") } else { Ok(()) }
}

/// Reads what [`write_position`] writes, and only that spelling.
fn read_position(text: &str) -> Result<(u64, u16), TilePathError> {
    let (digits, width) = match text.split_once(".p/") {
        None => (text, TILE_WIDTH),
        Some((digits, width)) => {
            let width = read_number(width, 255).filter(|width| *width > 0).ok_or(TilePathError)?;
            (digits, u16::try_from(width).map_err(|_| TilePathError)?)
        }
    };
    let groups: Vec<&str> = digits.split('/').collect();
    let (last, leading) = groups.split_last().ok_or(TilePathError)?;
    let mut index = 0_u64;
    for (place, group) in leading.iter().enumerate() {
        let group = group.strip_prefix('x').and_then(read_group).ok_or(TilePathError)?;
        if place == 0 && group == 0 {
            return Err(TilePathError); // a second spelling of a smaller index
        }
        index = index.checked_mul(1000).and_then(|index| index.checked_add(group)).ok_or(TilePathError)?;
    }
    let last = read_group(last).ok_or(TilePathError)?;
    let index = index.checked_mul(1000).and_then(|index| index.checked_add(last)).ok_or(TilePathError)?;
    if index > INDEX_MAX { Err(TilePathError) } else { Ok((index, width)) }
}

/// Exactly three decimal digits.
fn read_group(text: &str) -> Option<u64> {
    let is_three_digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_three_digits { text.parse().ok() } else { None }
}

/// A decimal number without sign or leading zeroes, up to `max`.
pub(crate) fn read_number(text: &str, max: u64) -> Option<u64> {
    let is_canonical =
        text == "0" || (!text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit()));
    let number: u64 = if is_canonical { text.parse().ok()? } else { return None };
    (number <= max).then_some(number)
}

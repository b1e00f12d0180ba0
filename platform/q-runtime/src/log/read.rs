//! Reads the files back, rotated ones included: what `q logs` shows.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Seek as _, SeekFrom},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use q_core::Timestamp;

use super::{files::path, line::Line};

/// The most files of a module that are looked for.
const AGE_MAX: u32 = 1_000;

/// Which lines.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Of one module; all when not given.
    pub module: Option<String>,
    /// Only errors and warnings.
    pub is_trouble: bool,
    /// Not older.
    pub since: Option<Timestamp>,
    /// Of one trace or one request.
    pub trace: Option<String>,
    /// At most so many, the newest.
    pub lines_max: usize,
}

impl Query {
    fn wants(&self, line: &Line) -> bool {
        let is_of_trace = |trace: &String| {
            [&line.trace_id, &line.request_id].into_iter().flatten().any(|id| id.eq_ignore_ascii_case(trace))
        };
        (!self.is_trouble || line.is_trouble())
            && self.since.is_none_or(|since| line.at >= since)
            && self.trace.as_ref().is_none_or(is_of_trace)
    }
}

/// The modules that have files in `folder`.
fn modules(folder: &Path) -> io::Result<BTreeSet<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        entries => entries?,
    };
    let name = |entry: io::Result<fs::DirEntry>| {
        let name = entry.ok()?.file_name().into_string().ok()?;
        Some(name.split_once(".log").filter(|(module, _)| !module.is_empty())?.0.to_owned())
    };
    Ok(entries.filter_map(name).collect())
}

/// The lines that `query` wants, oldest first. A line that cannot be read, as a crash leaves one, is passed over.
///
/// # Errors
/// When a file is there and cannot be read.
pub fn read(folder: &Path, query: &Query) -> io::Result<Vec<Line>> {
    let mut found = VecDeque::new();
    for module in modules(folder)? {
        if query.module.as_ref().is_some_and(|wanted| *wanted != module) {
            continue;
        }
        let oldest = (0..AGE_MAX).take_while(|age| path(folder, &module, *age).exists()).last();
        let mut of_module = VecDeque::new();
        for age in (0..=oldest.unwrap_or_default()).rev() {
            let Some(file) = opened(&path(folder, &module, age))? else { continue };
            for line in BufReader::new(file).split(b'\n') {
                let Ok(line) = serde_json::from_slice::<Line>(&line?) else { continue };
                if query.wants(&line) {
                    if of_module.len() == query.lines_max {
                        of_module.pop_front();
                    }
                    of_module.push_back(line);
                }
            }
        }
        found.append(&mut of_module);
    }
    let mut found = Vec::from(found);
    found.sort_by_key(|line| line.at);
    found.drain(..found.len().saturating_sub(query.lines_max));
    Ok(found)
}

fn opened(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What is written from now on.
#[derive(Debug)]
pub struct Tail {
    folder: PathBuf,
    query: Query,
    /// By module: the file, and how much of it was read.
    places: BTreeMap<String, (u64, u64)>,
}

impl Tail {
    /// Begins at the present ends of the files.
    pub fn new(folder: &Path, query: Query) -> io::Result<Self> {
        let mut tail = Self { folder: folder.to_owned(), query, places: BTreeMap::new() };
        for module in modules(folder)? {
            if let Some(file) = opened(&path(folder, &module, 0))? {
                let metadata = file.metadata()?;
                tail.places.insert(module, (metadata.ino(), metadata.len()));
            }
        }
        Ok(tail)
    }

    /// What was written since the last time, oldest first.
    pub fn read(&mut self) -> io::Result<Vec<Line>> {
        let mut found = Vec::new();
        for module in modules(&self.folder)? {
            if self.query.module.as_ref().is_none_or(|wanted| *wanted == module) {
                self.read_of(&module, &mut found)?;
            }
        }
        found.sort_by_key(|line| line.at);
        Ok(found)
    }

    fn read_of(&mut self, module: &str, found: &mut Vec<Line>) -> io::Result<()> {
        let (inode, read) = self.places.get(module).copied().unwrap_or_default();
        let Some(current) = opened(&path(&self.folder, module, 0))? else { return Ok(()) };
        let metadata = current.metadata()?;
        if metadata.ino() == inode {
            let read = read + self.lines_after(current, read, found)?;
            self.places.insert(module.to_owned(), (inode, read));
            return Ok(());
        }
        // Rotated: first the rest of the file that was the present one.
        if let Some(former) = opened(&path(&self.folder, module, 1))?
            && former.metadata()?.ino() == inode
        {
            self.lines_after(former, read, found)?;
        }
        let read = self.lines_after(current, 0, found)?;
        self.places.insert(module.to_owned(), (metadata.ino(), read));
        Ok(())
    }

    /// Reads the whole lines after a place, and answers how many bytes they have.
    fn lines_after(&self, mut file: File, place: u64, found: &mut Vec<Line>) -> io::Result<u64> {
        file.seek(SeekFrom::Start(place))?;
        let mut file = BufReader::new(file);
        let (mut bytes, mut line) = (0, Vec::new());
        loop {
            line.clear();
            let count = file.read_until(b'\n', &mut line)?;
            if !line.ends_with(b"\n") {
                return Ok(bytes);
            }
            bytes += count as u64;
            if let Ok(line) = serde_json::from_slice::<Line>(&line)
                && self.query.wants(&line)
            {
                found.push(line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn line(at: i64, module: &str, level: &str, trace: &str) -> String {
        let line = Line {
            at: Timestamp::from_seconds(at),
            level: level.to_owned(),
            module: module.to_owned(),
            message: format!("{module} {at}"),
            trace_id: Some(trace.to_owned()),
            request_id: None,
            target: "here".to_owned(),
            fields: serde_json::Map::new(),
        };
        line.json() + "\n"
    }

    fn messages(lines: &[Line]) -> Vec<&str> {
        lines.iter().map(|line| line.message.as_str()).collect()
    }

    #[test]
    fn lines_of_all_files_come_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| fs::write(folder.path().join(name), text).unwrap();
        write("squid.log.1", line(1, "squid", "info", "a") + &line(3, "squid", "error", "b"));
        write("squid.log", line(5, "squid", "warn", "a") + "{\"torn");
        write("qwallet.log", line(2, "qwallet", "info", "a") + "\n" + &line(4, "qwallet", "warn", "b"));
        let query = |set: fn(&mut Query)| {
            let mut query = Query { lines_max: 10, ..Query::default() };
            set(&mut query);
            let lines = read(folder.path(), &query).unwrap();
            messages(&lines).join(", ")
        };
        assert_eq!(query(|_| ()), "squid 1, qwallet 2, squid 3, qwallet 4, squid 5");
        assert_eq!(query(|query| query.module = Some("squid".into())), "squid 1, squid 3, squid 5");
        assert_eq!(query(|query| query.is_trouble = true), "squid 3, qwallet 4, squid 5");
        assert_eq!(query(|query| query.trace = Some("A".into())), "squid 1, qwallet 2, squid 5");
        assert_eq!(query(|query| query.since = Some(Timestamp::from_seconds(4))), "qwallet 4, squid 5");
        assert_eq!(query(|query| query.lines_max = 2), "qwallet 4, squid 5");
        assert!(read(&folder.path().join("none"), &Query::default()).unwrap().is_empty());
    }

    #[test]
    fn a_tail_goes_on_after_a_rotation() {
        let folder = tempfile::tempdir().unwrap();
        let current = folder.path().join("squid.log");
        let append = |text: String| {
            fs::OpenOptions::new()
                .append(true)
                .create(true)
                .open(&current)
                .unwrap()
                .write_all(text.as_bytes())
        };
        append(line(1, "squid", "info", "a")).unwrap();
        let mut tail = Tail::new(folder.path(), Query::default()).unwrap();
        assert!(tail.read().unwrap().is_empty());
        append(line(2, "squid", "info", "a") + "{\"half").unwrap();
        assert_eq!(messages(&tail.read().unwrap()), ["squid 2"]);
        append("\n".to_owned() + &line(3, "squid", "info", "a")).unwrap();
        fs::rename(&current, folder.path().join("squid.log.1")).unwrap();
        append(line(4, "squid", "info", "a")).unwrap();
        assert_eq!(messages(&tail.read().unwrap()), ["squid 3", "squid 4"]);
        assert!(tail.read().unwrap().is_empty());
    }
}

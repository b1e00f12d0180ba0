//! Measuring once, or in rounds at the word of a conductor who measures something else in between.

use crate::report::Figures;
use anyhow::{Result, bail};
use std::io::{BufRead, Write};

/// Something that can be measured again and again.
pub trait Subject {
    /// Does what must be done before the clock starts, such as signing the requests of the coming round.
    fn prepare(&mut self) -> Result<()>;
    /// One measurement.
    fn measure(&mut self) -> Result<Figures>;
}

/// Prepares and measures once, and writes the figures as one line of JSON.
pub fn once(subject: &mut dyn Subject, output: &mut dyn Write) -> Result<()> {
    subject.prepare()?;
    let figures = subject.measure()?;
    writeln!(output, "{}", serde_json::to_string(&figures)?)?;
    Ok(())
}

/// Follows a conductor: the line `prepare` is answered by `ready`, the line `measure` by one line of JSON.
pub fn by_line(subject: &mut dyn Subject, input: &mut dyn BufRead, output: &mut dyn Write) -> Result<()> {
    for line in input.lines() {
        match line?.trim() {
            "prepare" => {
                subject.prepare()?;
                writeln!(output, "ready")?;
            }
            "measure" => writeln!(output, "{}", serde_json::to_string(&subject.measure()?)?)?,
            other => bail!("neither `prepare` nor `measure`: {other}"),
        }
        output.flush()?;
    }
    Ok(())
}

/// Tells the person at the keyboard; standard output belongs to the figures.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

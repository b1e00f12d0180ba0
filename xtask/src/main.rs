//! Our own tools: everything a developer or the build server runs is a verb here, so that both run the same thing.
//!
//! **Invariant:** needs nothing but the Rust toolchain to start; what else it uses, it finds, installs or names as
//! missing. Nothing it makes lands in the clone.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks to its user")]

mod bench;
mod books;
mod house;
mod machine;
mod oracles;
mod postgres;
mod steps;
mod tidy;
mod verbs;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// The tools of the house.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, about)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Everything the build server runs: format, lints, house rules, contracts, all tests on both engines, journeys
    Test(verbs::test::Args),
    /// The quick part of `test`: format, lints, house rules
    Check,
    /// The house rules that the compiler does not know (style.md, section 7)
    Tidy,
    /// Writes what is generated and committed anew: contracts (openapi/) and runbooks (docs/runbooks/)
    Generate(verbs::generate::Args),
    /// Load runs, each beside its anchor in the same run
    Bench(verbs::bench::Args),
    /// Faults made on purpose, and what held: `cargo xtask drill faults`
    #[command(subcommand)]
    Drill(verbs::drill::Args),
    /// Imports a payout file by an independent program, pays it, and has independent programs confirm the books
    DemoPayout(verbs::demo_payout::Args),
}

fn main() -> ExitCode {
    let outcome = machine::watch_signals().and_then(|()| match Cli::parse().verb {
        Verb::Test(args) => verbs::test::run(&args),
        Verb::Check => verbs::check::run(),
        Verb::Tidy => verbs::check::tidy(),
        Verb::Generate(args) => verbs::generate::run(&args),
        Verb::Bench(args) => verbs::bench::run(&args),
        Verb::Drill(args) => verbs::drill::run(&args),
        Verb::DemoPayout(args) => verbs::demo_payout::run(&args),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

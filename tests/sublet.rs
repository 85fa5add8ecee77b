//! `sublet`, for the tests of this package.

fn main() -> std::process::ExitCode {
    cli::main()
}

//! `sublet-render`: a guest that does real work. It traces a picture on every core it is given, prints its progress,
//! serves progress and result over HTTP, and stays until it is told to stop.

#![expect(clippy::print_stdout, reason = "a guest speaks to its tenant through its output")]

mod arguments;
mod canvas;
mod http;
mod png;
mod scene;
mod stop;
mod vector;

use std::{net::TcpListener, process::ExitCode, sync::Arc, thread, time::Duration};

use arguments::{Arguments, Task};
use canvas::Canvas;

const PROGRESS_EVERY: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let arguments = match arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(wrong) => {
            eprintln!("sublet-render: {wrong}\n\n{}", arguments::USAGE);
            return ExitCode::from(2);
        }
    };
    let outcome = match arguments.task {
        Task::Help => {
            println!("{}", arguments::USAGE);
            Ok(())
        }
        Task::SelfCheck => {
            println!("{}", drawn(&arguments).finished().hash);
            Ok(())
        }
        Task::Serve => serve(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sublet-render: listen on {}: {error}", arguments.listen);
            ExitCode::FAILURE
        }
    }
}

fn drawn(arguments: &Arguments) -> Canvas {
    let canvas = Canvas::new(arguments.size, arguments.samples);
    canvas.draw(arguments.threads);
    canvas
}

fn serve(arguments: &Arguments) -> std::io::Result<()> {
    stop::exit_on_sigterm();
    let listener = TcpListener::bind(arguments.listen)?;
    let canvas = Arc::new(Canvas::new(arguments.size, arguments.samples));
    println!(
        "tracing {} with {} samples a pixel on {} threads, http on {}",
        arguments.size,
        arguments.samples,
        arguments.threads,
        listener.local_addr()?
    );

    let shown = Arc::clone(&canvas);
    thread::spawn(move || http::serve(&listener, &shown));
    thread::scope(|scope| {
        scope.spawn(|| canvas.draw(arguments.threads));
        report_until_done(&canvas);
    });
    let result = canvas.finished();
    println!(
        "done in {} ms, {} bytes, sha256:{}",
        canvas.progress().elapsed_ms,
        result.png.len(),
        result.hash
    );

    match arguments.linger {
        Some(time) => thread::sleep(time),
        None => loop {
            thread::park();
        },
    }
    Ok(())
}

fn report_until_done(canvas: &Canvas) {
    while !canvas.wait(PROGRESS_EVERY) {
        let progress = canvas.progress();
        println!(
            "{} % ({} of {} rows, {} ms)",
            progress.percent(),
            progress.done,
            progress.total,
            progress.elapsed_ms
        );
    }
}

//! This computer: what it has, what works, how fast it is.

use crate::door::Door;
use crate::problem::Problem;
use crate::shapes::{
    BenchmarkProgress, Benchmarks, Doctor, Figures, Inventory, Measured, Measurement, Moment, Seconds,
};
use crate::stream::{Teller, told};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use node::NodeHandle;
use node::engine::benchmark;
use node::machine::benchmark::{self as machine, MeasureError, USUAL_BUDGET, measure};
use node::machine::inventory::inventory as look_around;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// What works on this machine, what does not, and what mends it.
#[utoipa::path(get, path = "/v1/doctor", tag = "machine", responses((status = 200, body = Doctor)))]
pub async fn doctor() -> Result<Json<Doctor>, Problem> {
    blocking(|| Ok(Json(crate::doctor()))).await
}

/// What this computer has.
#[utoipa::path(get, path = "/v1/inventory", tag = "machine", responses((status = 200, body = Inventory)))]
pub async fn inventory(State(door): State<Door>) -> Result<Json<Inventory>, Problem> {
    blocking(move || Ok(Json(look_around(&door.node.config().data).into()))).await
}

/// How fast this computer was whenever it was measured.
#[utoipa::path(get, path = "/v1/benchmark", tag = "machine", responses((status = 200, body = Benchmarks)))]
pub async fn measurements(State(door): State<Door>) -> Result<Json<Benchmarks>, Problem> {
    const MOST: usize = 100;
    let found =
        door.node.look(|core| tokio::task::block_in_place(|| core.store().measurements(MOST))).await??;
    let measurements =
        found.into_iter().map(|(at, speed)| Measurement { at: Moment(at), speed: speed.into() });
    Ok(Json(Benchmarks { measurements: measurements.collect() }))
}

/// Measures this computer in some 20 seconds, and keeps its speed. It is cancelled when nobody reads any more.
///
/// Server-sent events: `progress` with a `BenchmarkProgress`, then `done` with a `Measured`, or `problem`.
#[utoipa::path(post, path = "/v1/benchmark", tag = "machine", responses((status = 200, body = Measured, content_type = "text/event-stream")))]
pub async fn measure_speed(State(door): State<Door>) -> Result<Response, Problem> {
    let alone = door
        .benchmark
        .clone()
        .try_acquire_owned()
        .map_err(|_| Problem::busy("this machine is being measured already"))?;
    Ok(told(move |teller| async move {
        let begun = Instant::now();
        let figures = figures(&door.node, teller, alone).await?;
        let speed = benchmark::speed(&benchmark::Figures {
            core_events: figures.cpu_one,
            cores_events: figures.cpu_all,
            memory_bytes: figures.memory,
            disk_read_bytes: figures.disk_read,
            disk_write_bytes: figures.disk_write,
            disk_read_ops: figures.disk_read_iops,
            disk_write_ops: figures.disk_write_iops,
        });
        door.node.measured(speed).await?;
        Ok(Measured {
            speed: speed.into(),
            figures: Figures::from(&figures),
            took: Seconds(begun.elapsed().into()),
        })
    }))
}

/// Measures on a thread that may block. It stops soon after this future is dropped; only then may the next begin.
async fn figures(
    node: &NodeHandle,
    teller: Teller<BenchmarkProgress>,
    alone: tokio::sync::OwnedSemaphorePermit,
) -> Result<machine::Measurement, Problem> {
    let cancel = CancelOnDrop(Arc::new(AtomicBool::new(false)));
    let (cancelled, data) = (cancel.0.clone(), node.config().data.clone());
    let measured = blocking(move || {
        let _alone = alone;
        let mut last = Instant::now();
        let mut progress = |stage, fraction| {
            // Ten times a second is as often as people see.
            if last.elapsed().as_millis() >= 100 {
                last = Instant::now();
                teller.tell(&BenchmarkProgress::of(stage, fraction));
            }
        };
        measure(&data, USUAL_BUDGET, &mut progress, &cancelled).map_err(not_measured)
    });
    measured.await
}

fn not_measured(error: MeasureError) -> Problem {
    let (status, code) = match &error {
        MeasureError::Cancelled => (StatusCode::CONFLICT, "cancelled"),
        MeasureError::NoMemory { .. } => (StatusCode::CONFLICT, "no_memory"),
        MeasureError::NoRoom { .. } => (StatusCode::CONFLICT, "disk_full"),
        MeasureError::Miscomputed { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "miscomputed"),
        MeasureError::TooShort { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "out_of_range"),
        MeasureError::Io { source, path, doing } => {
            return Problem::fault(format!("cannot {doing} in {}: {source}", path.display()));
        }
    };
    Problem::new(status, code, error.to_string())
}

struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Work that waits for the machine, off the threads that wait for the network.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let worked = tokio::task::spawn_blocking(work).await;
    worked.unwrap_or_else(|failed| Err(Problem::fault(format!("the work broke off: {failed}"))))
}

//! `GET /jobs/{id}`.

use axum::Json;
use axum::extract::State as Shared;
use service_kit::{PathParams, Problem};
use uuid::Uuid;

use crate::State;
use crate::job::Job;

/// How far a job is, also after a restart.
#[utoipa::path(
    get, path = "/jobs/{id}",
    params(("id" = Uuid, Path)),
    responses((status = OK, body = Job))
)]
pub(crate) async fn read(
    Shared(state): Shared<State>,
    PathParams(id): PathParams<Uuid>,
) -> Result<Json<Job>, Problem> {
    // Asked first: a job that ends while its record is read is not taken for
    // one that was cut off.
    let running = state.workers.is_running(id);
    let job = state.store.get_job(id).await;
    match job.map_err(|error| Problem::internal(&error))? {
        Some(job) if running => Ok(Json(job)),
        Some(job) => Ok(Json(job.interrupted())),
        None => Err(Problem::not_found(format!("there is no job {id}"))),
    }
}

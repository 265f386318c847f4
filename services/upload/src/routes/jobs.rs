//! `GET /jobs` and `GET /jobs/{id}`.

use axum::Json;
use axum::extract::State as Shared;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use service_kit::{PathParams, Problem, QueryParams};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::State;
use crate::job::Job;
use crate::routes::refused::store_problem;

/// As many jobs as a page has, unless said otherwise, and at most.
const PAGE: usize = 100;
const LONGEST_PAGE: usize = 1000;
/// Records that are read at the same time.
const AT_ONCE: usize = 16;

/// Which jobs.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Page {
    /// Only jobs that are older than this one: the `next` of the page before.
    before: Option<Uuid>,
    /// How many, up to 1000; 100 where it is missing.
    limit: Option<usize>,
}

/// Some jobs, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Jobs {
    jobs: Vec<Job>,
    /// For the `before` of the next page; missing on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Uuid>,
}

/// All jobs, the newest first.
#[utoipa::path(
    get, path = "/jobs", tag = "jobs",
    params(Page),
    responses(
        (status = OK, body = Jobs, description = "a page of them"),
        (
            status = SERVICE_UNAVAILABLE, description = "`store-unavailable`",
            headers(("Retry-After" = u64, description = "seconds"))
        ),
    )
)]
pub(crate) async fn list(
    Shared(state): Shared<State>,
    QueryParams(page): QueryParams<Page>,
) -> Result<Json<Jobs>, Problem> {
    let limit = page.limit.unwrap_or(PAGE);
    if !(1..=LONGEST_PAGE).contains(&limit) {
        return Err(Problem::bad_request(
            "invalid-query",
            format!("limit is a number from 1 to {LONGEST_PAGE}"),
        ));
    }
    let ids = state.store.list_jobs().await;
    let ids = ids.map_err(|error| store_problem(&error))?;
    let mut older = ids
        .into_iter()
        .filter(|id| page.before.is_none_or(|before| *id < before));
    let chosen: Vec<Uuid> = older.by_ref().take(limit).collect();
    let next = older.next().and(chosen.last().copied());
    let jobs: Vec<Option<Job>> = stream::iter(chosen)
        .map(|id| job(&state, id))
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    Ok(Json(Jobs {
        jobs: jobs.into_iter().flatten().collect(),
        next,
    }))
}

/// How far a job is, also after a restart.
#[utoipa::path(
    get, path = "/jobs/{id}", tag = "jobs",
    params(("id" = Uuid, Path, description = "as an upload was answered")),
    responses(
        (status = OK, body = Job, description = "the job as it is now"),
        (status = NOT_FOUND, description = "`not-found`"),
        (
            status = SERVICE_UNAVAILABLE, description = "`store-unavailable`",
            headers(("Retry-After" = u64, description = "seconds"))
        ),
    )
)]
pub(crate) async fn read(
    Shared(state): Shared<State>,
    PathParams(id): PathParams<Uuid>,
) -> Result<Json<Job>, Problem> {
    let found = job(&state, id).await?;
    found
        .map(Json)
        .ok_or_else(|| Problem::not_found(format!("there is no job {id}")))
}

/// A job as it is now; none where there is none.
async fn job(state: &State, id: Uuid) -> Result<Option<Job>, Problem> {
    // Asked first: a job that ends while its record is read is not taken for
    // one that was cut off.
    let running = state.workers.is_running(id);
    let job = state.store.get_job(id).await;
    let job = job.map_err(|error| store_problem(&error))?;
    Ok(job.map(|job| if running { job } else { job.interrupted() }))
}

//! `/hello/{user}`.

use axum::Json;
use axum::extract::State as Shared;
use http::StatusCode;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use service_kit::{JsonBody, PathParams, Problem, postgres};
use utoipa::ToSchema;

use crate::State;
use crate::calendar::days_to_birthday;
use crate::store::StoreError;
use crate::user::User;

/// What a `PUT` sends.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct DateOfBirth {
    /// `YYYY-MM-DD`, before today.
    #[schema(format = Date, example = "1815-12-10")]
    date_of_birth: String,
}

/// What a `GET` answers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Greeting {
    #[schema(example = "Hello, Ada! Your birthday is in 19 day(s)")]
    message: String,
}

/// Stores the date of birth of a user, in place of the one before.
#[utoipa::path(
    put, path = "/hello/{user}",
    params(("user" = String, Path, description = "1 to 64 letters from A to Z", example = "Ada")),
    request_body = DateOfBirth,
    responses(
        (status = NO_CONTENT, description = "it is stored"),
        (status = BAD_REQUEST, description = "`invalid-user`, `invalid-date`"),
        (status = UNPROCESSABLE_ENTITY, description = "`date-not-in-the-past`"),
        (status = SERVICE_UNAVAILABLE, description = "`database-unavailable`")
    )
)]
pub(crate) async fn write(
    Shared(state): Shared<State>,
    PathParams(user): PathParams<String>,
    JsonBody(body): JsonBody<DateOfBirth>,
) -> Result<StatusCode, Problem> {
    let user = parse_user(&user)?;
    let born = parse_date(&body.date_of_birth)?;
    if born >= (state.today)() {
        return Err(Problem::unprocessable(
            "date-not-in-the-past",
            "a date of birth is before today (UTC)",
        ));
    }
    state
        .store
        .put(&user, born)
        .await
        .map_err(|error| store_problem(&error))?;
    state.metrics.stored.inc();
    Ok(StatusCode::NO_CONTENT)
}

/// Greets a user, with the days that are left; 404 for one nobody stored.
#[utoipa::path(
    get, path = "/hello/{user}",
    params(("user" = String, Path, description = "1 to 64 letters from A to Z", example = "Ada")),
    responses(
        (status = OK, body = Greeting),
        (status = BAD_REQUEST, description = "`invalid-user`"),
        (status = NOT_FOUND, description = "`not-found`"),
        (status = SERVICE_UNAVAILABLE, description = "`database-unavailable`")
    )
)]
pub(crate) async fn read(
    Shared(state): Shared<State>,
    PathParams(user): PathParams<String>,
) -> Result<Json<Greeting>, Problem> {
    let user = parse_user(&user)?;
    let born = state
        .store
        .get(&user)
        .await
        .map_err(|error| store_problem(&error))?;
    let Some(born) = born else {
        return Err(Problem::not_found(format!(
            "nobody has told the birthday of {user}"
        )));
    };
    state.metrics.greetings.inc();
    let message = match days_to_birthday(born, (state.today)()) {
        0 => {
            state.metrics.birthdays.inc();
            format!("Hello, {user}! Happy birthday!")
        }
        days => format!("Hello, {user}! Your birthday is in {days} day(s)"),
    };
    Ok(Json(Greeting { message }))
}

fn parse_user(text: &str) -> Result<User, Problem> {
    text.parse()
        .map_err(|error: crate::UserError| Problem::bad_request("invalid-user", error.to_string()))
}

/// Only `YYYY-MM-DD`: the library would take more, such as a time behind it.
fn parse_date(text: &str) -> Result<Date, Problem> {
    let shape = text.len() == 10
        && text.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    let date = if shape { text.parse().ok() } else { None };
    // PostgreSQL has no year 0.
    date.filter(|date: &Date| date.year() > 0).ok_or_else(|| {
        Problem::bad_request(
            "invalid-date",
            "dateOfBirth is a calendar date as YYYY-MM-DD",
        )
    })
}

fn store_problem(error: &StoreError) -> Problem {
    postgres::unavailable(error)
}

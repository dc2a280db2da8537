//! The HTTP API: shapes in, shapes out. Everything it knows it asks of the owner.

mod events;
mod problem;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{Method, StatusCode, Uri};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use standoff_protocol::api::{Alert, AlertList};
use tokio_util::sync::CancellationToken;

use crate::alerts::{Filter, PAGE_SIZE, PAGE_SIZE_MAX, PageToken};
use crate::http::problem::{Asked, ProblemAnswer};
use crate::owner::{Message, Owner};

/// What every handler needs.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    pub(crate) owner: Owner,
    pub(crate) shutdown: CancellationToken,
}

/// All routes.
pub(crate) fn router(api: Api) -> Router {
    Router::new()
        .route("/api/v1/alerts", get(alerts))
        .route("/api/v1/alerts/{id}", get(alert))
        .route("/api/v1/events", get(events::events))
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .with_state(api)
}

#[derive(Debug, Deserialize)]
struct AlertsQuery {
    state: Option<String>,
    page_size: Option<String>,
    page_token: Option<String>,
}

async fn alerts(
    State(api): State<Api>,
    asked: Asked,
    query: Result<Query<AlertsQuery>, QueryRejection>,
) -> Result<Json<AlertList>, ProblemAnswer> {
    let Query(query) = query.map_err(|error| asked.bad_request(error.body_text()))?;
    let filter = match query.state.as_deref() {
        None | Some("firing") => Filter::Firing,
        Some("suspected") => Filter::Suspected,
        Some("resolved") => Filter::Resolved,
        Some("all") => Filter::All,
        Some(other) => {
            return Err(asked.bad_request(format!(
                "state is \"{other}\"; it must be suspected, firing, resolved or all"
            )));
        }
    };
    let page_size = match query.page_size.as_deref().map(str::parse::<usize>) {
        None => PAGE_SIZE,
        Some(Ok(size @ 1..)) => size.min(PAGE_SIZE_MAX),
        Some(_) => return Err(asked.bad_request("page_size must be a number from 1".into())),
    };
    let after =
        match query.page_token.as_deref() {
            None | Some("") => None,
            Some(token) => Some(PageToken::parse(token).ok_or_else(|| {
                asked.bad_request("page_token must be the next_page_token of an earlier answer".into())
            })?),
        };
    let list = api
        .owner
        .ask(|reply| Message::List {
            filter,
            page_size,
            after,
            reply,
        })
        .await;
    list.map(Json).map_err(|error| asked.unavailable(error.to_string()))
}

async fn alert(
    State(api): State<Api>,
    asked: Asked,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Alert>, ProblemAnswer> {
    let Path(id) = id.map_err(|error| asked.bad_request(error.body_text()))?;
    let alert = api.owner.ask(|reply| Message::Get { id, reply }).await;
    let alert = alert.map_err(|error| asked.unavailable(error.to_string()))?;
    alert
        .map(Json)
        .ok_or_else(|| asked.problem(StatusCode::NOT_FOUND, "no open or remembered alert has this id".into()))
}

async fn readyz(State(api): State<Api>, asked: Asked) -> Result<&'static str, ProblemAnswer> {
    match api.owner.ask(|reply| Message::IsReady { reply }).await {
        Ok(true) => Ok("ready\n"),
        Ok(false) => Err(asked.unavailable("not all instances known from before the start have been heard of".into())),
        Err(error) => Err(asked.unavailable(error.to_string())),
    }
}

async fn not_found(asked: Asked, uri: Uri) -> ProblemAnswer {
    asked.problem(StatusCode::NOT_FOUND, format!("there is nothing at {}", uri.path()))
}

async fn method_not_allowed(asked: Asked, method: Method) -> ProblemAnswer {
    asked.problem(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{method} is not understood here"),
    )
}

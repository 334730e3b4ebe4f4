//! The board.

use std::sync::Arc;

use hyper::StatusCode;

use super::super::Site;
use super::super::actions::board::board;
use super::super::answer::{self, HttpResult};
use super::super::authentication::who_reads;
use super::super::call::Call;
use crate::api::BoardQuery;

pub(super) async fn status(site: &Arc<Site>, call: &mut Call) -> HttpResult {
    let who = who_reads(site, call).await?;
    let query: BoardQuery = call.query()?;
    let board = board(site, &who, &query).await?;
    answer::json(StatusCode::OK, &board.view)
}

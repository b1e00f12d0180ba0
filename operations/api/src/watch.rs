//! Objectives, alerts and who is told.

//! Rules for Prometheus.

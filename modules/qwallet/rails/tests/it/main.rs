//! Files of euro payments against the published schemas.

mod sepa;

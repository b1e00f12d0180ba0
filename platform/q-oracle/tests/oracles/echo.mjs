// Answers while it reads.
process.stdin.pipe(process.stdout)

#!/usr/bin/env bash
# The steps of the action: compile, deploy and report. It reads the inputs from variables
# whose names begin with INPUT_, and writes only below RUNNER_TEMP.
set -euo pipefail
programs=$RUNNER_TEMP/herokubuild
report=$programs/report.json

case $1 in
compile)
  # A key in the environment is masked by the workflow only if it comes from a secret.
  for key in "${INPUT_API_KEY:-}" "${HEROKU_API_KEY:-}"; do
    [ -z "$key" ] || echo "::add-mask::$key"
  done
  if ! command -v go >/dev/null; then
    echo "::error title=Go is missing::Add a step with actions/setup-go before this one."
    exit 1
  fi
  mkdir -p "$programs"
  rm -f "$report"
  cd "$GITHUB_ACTION_PATH/.."
  go build -o "$programs/" ./deploy ./action
  ;;
deploy)
  [ -z "${INPUT_API_KEY:-}" ] || export HEROKU_API_KEY=$INPUT_API_KEY
  unset INPUT_API_KEY
  args=(-json "$report" -app "$INPUT_APP")
  # An input without a value leaves the program's default.
  while read -r flag name; do
    value=${!name:-}
    [ -z "$value" ] || args+=("$flag" "$value")
  done <<'FLAGS'
-release-to INPUT_RELEASE_TO
-canaries INPUT_CANARIES
-check INPUT_HEALTH_CHECK
-check-timeout INPUT_HEALTH_CHECK_TIMEOUT
-rollback INPUT_ROLLBACK
-version INPUT_VERSION
-timeout INPUT_TIMEOUT
FLAGS
  # The program replaces this shell, so that it gets the signals of a canceled job.
  exec "$programs/deploy" "${args[@]}" "${INPUT_DIRECTORY:-.}"
  ;;
report)
  exec "$programs/action" "$report"
  ;;
*)
  echo "action.sh: unknown step $1" >&2
  exit 2
  ;;
esac

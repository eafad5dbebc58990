# One step of a check that is a script: counts as one test of its junit.xml (see steps.py). Sourced;
# needs $work, the folder of steps.tsv and of the last step's output.
# shellcheck shell=bash disable=SC2154

step() { # name, command...: the output is kept, and shown where the step fails
  local name=$1 start=$SECONDS status
  shift
  "$@" >"$work/step.log" 2>&1
  status=$?
  printf '%s\t%s\t%s\n' "$name" "$status" "$((SECONDS - start))" >>"$work/steps.tsv"
  echo "$([ $status = 0 ] && echo ok || echo FAILED): $name ($((SECONDS - start)) s)"
  [ $status = 0 ] || tail -n 60 "$work/step.log"
  return $status
}

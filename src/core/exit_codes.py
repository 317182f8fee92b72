"""What a script's exit code says; scripts/shell_functions.sh repeats the first and the last for bash."""

EXIT_USER_MISTAKE = 2  # one line on stderr says what to repair
EXIT_SOME_FAILED = 3  # some inputs failed, more than the script allows; the others are done
EXIT_STOPPED = 99  # stopped by a signal after saving: the same command continues

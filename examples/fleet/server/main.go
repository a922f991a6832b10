// Command server runs a Temporal server in memory, for trials and tests: its state is
// gone when it ends. It is a module of its own, because it has ten times the
// dependencies of a worker: the first compile takes minutes.
//
//	go run .
//
// It prints the environment variables that a worker needs. It ends when its standard
// input is closed (Ctrl-D), so that it does not outlive the program that started it.
package main

import (
	"fmt"
	"io"
	"os"

	"go.temporal.io/server/temporaltest"
)

func main() {
	s := temporaltest.NewServer()
	fmt.Printf("export TEMPORAL_ADDRESS=%s\nexport TEMPORAL_NAMESPACE=%s\n", s.GetFrontendHostPort(), s.GetDefaultNamespace())
	_, _ = io.Copy(io.Discard, os.Stdin)
}

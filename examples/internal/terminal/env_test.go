package terminal

import (
	"testing"

	"github.com/herokubuild/herokubuild/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

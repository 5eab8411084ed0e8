package runlog_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"

	"quant"
	"quant/runlog"
)

// lab is a lab in a folder of its own.
func lab() (l *runlog.Lab, remove func()) {
	dir, err := os.MkdirTemp("", "lab-")
	if err != nil {
		log.Fatal(err)
	}
	if l, err = runlog.Open(context.Background(), dir); err != nil {
		log.Fatal(err)
	}
	return l, func() {
		if err := l.Close(); err != nil {
			log.Fatal(err)
		}
		os.RemoveAll(dir)
	}
}

// A function runs as a recorded run: what it logs is the run's, and its error
// the run's end.
func ExampleLab_Track() {
	l, remove := lab()
	defer remove()
	err := l.Track(context.Background(), "train", map[string]any{"epochs": 3}, func(ctx context.Context, run *runlog.Run) error {
		if err := run.Param("lr", 0.1); err != nil {
			return err
		}
		for epoch := range 3 {
			if err := run.Metric("loss", 1/float64(epoch+1)); err != nil {
				return err
			}
		}
		return quant.Errorf(quant.Refused, "the loss does not fall fast enough")
	})
	fmt.Println(quant.CodeOf(err), "-", err)
	// Output: refused - the loss does not fall fast enough
}

// A run that is started by hand is closed by hand.
func ExampleLab_Start() {
	l, remove := lab()
	defer remove()
	run, err := l.Start(context.Background(), "train", nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(run.MetricAt(10, "loss", 0.25))
	fmt.Println(run.Tag("name", "baseline"))
	fmt.Println(run.Note("the first one that converged"))
	fmt.Println(run.ArtifactFrom(context.Background(), strings.NewReader("0.25\n"), "loss.txt"))
	fmt.Println(run.Close(nil))

	again, err := l.Join(context.Background(), "@baseline")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(again.ID() == run.ID())
	// Output:
	// <nil>
	// <nil>
	// <nil>
	// <nil>
	// <nil>
	// true
}

// A param is written once.
func ExampleRun_Param() {
	l, remove := lab()
	defer remove()
	run, err := l.Start(context.Background(), "train", nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(run.Param("lr", 0.1))
	fmt.Println(run.Param("lr", 0.1))
	fmt.Println(errors.Is(run.Param("lr", 0.2), quant.Conflict))
	fmt.Println(run.Close(nil))
	// Output:
	// <nil>
	// <nil>
	// true
	// <nil>
}

package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"

	"quant"
	"quant/internal/output"
)

// confirm asks whether to do what cannot be undone, where somebody can be asked;
// elsewhere --yes must be given. what names the deed: "--reset drops every fact".
func (e *Env) confirm(ctx context.Context, yes bool, what, consequences, hint string) error {
	if yes {
		return nil
	}
	if !output.IsTerminal(e.Streams().In) || !output.IsTerminal(e.Streams().Err) {
		return quant.Errorf(quant.Usage, "%s, and nobody can be asked here", what).WithHint("%s", hint)
	}
	_, _ = fmt.Fprintf(e.Streams().Err, "%s Type yes to go on: ", output.Clean(e.Mask.Text(consequences)))
	answer, err := whileWaiting(ctx, func() (string, error) {
		// The end of the input is an answer too, and not "yes".
		line, _ := bufio.NewReader(io.LimitReader(e.Streams().In, 100)).ReadString('\n')
		return strings.TrimSpace(line), nil
	})
	if err != nil {
		return err
	}
	if answer != "yes" {
		return quant.Errorf(quant.Refused, "not confirmed: nothing was changed")
	}
	return nil
}

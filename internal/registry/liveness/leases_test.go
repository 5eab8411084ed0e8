package liveness_test

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"quant"
	"quant/internal/metastore"
	"quant/internal/registry/liveness"
)

// server is a store of leases that stand until they end, and are ended only while it is
// not away.
type server struct {
	metastore.Leases
	away   bool
	stands bool
}

func (s *server) TakeLease(context.Context, metastore.Lease, time.Duration) (metastore.HeldLease, error) {
	s.stands = true
	return s, nil
}

func (s *server) LeaseStands(context.Context, string) (bool, error) { return s.stands, nil }

func (s *server) Renew(context.Context) (time.Time, error) { return time.Now(), nil }

func (s *server) End(context.Context) error {
	if s.away {
		return errors.New("the server is away")
	}
	s.stands = false
	return nil
}

// Who ended while the server was away is dead for its machine at once, and for others
// when its lease ends; nothing is left behind of who could say so.
func TestWhoEndedWhileTheServerWasAwayIsDeadForItsMachineAtOnce(t *testing.T) {
	t.Parallel()
	for _, away := range []bool{true, false} {
		s, dir, me := &server{away: away}, t.TempDir(), liveness.ThisProcess()
		told := func(time.Duration, time.Time) {}
		ended := liveness.NewLeases(s, liveness.NewLocks(dir, me), me, told)
		name, err := ended.Hold(t.Context(), "01a220ff-bae0-73aa-ac02-ecd0d6d0d49e")
		if err != nil {
			t.Fatal(err)
		}
		p := quant.RunProcess{RunID: name, LiveLock: quant.Text(name), BootID: quant.Text(me.BootID), MachineID: quant.Text(me.MachineID)}
		here := liveness.NewLeases(s, liveness.NewLocks(dir, me), me, told)
		elsewhere := liveness.NewLeases(s, liveness.NewLocks(t.TempDir(), me), me, told)
		judge := func(wantHere, wantElsewhere liveness.Life) {
			t.Helper()
			if a, b := here.Judge(t.Context(), p), elsewhere.Judge(t.Context(), p); a != wantHere || b != wantElsewhere {
				t.Errorf("away %v: judged %v here and %v elsewhere, not %v and %v", away, a, b, wantHere, wantElsewhere)
			}
		}
		judge(liveness.Alive, liveness.Alive)
		ended.Release()
		if away {
			judge(liveness.Dead, liveness.Alive)
		} else {
			judge(liveness.Dead, liveness.Dead)
		}
		liveness.NewLocks(dir, me).Sweep(t.Context())
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
			t.Errorf("away %v: left behind: %v, %v", away, left, err)
		}
	}
}

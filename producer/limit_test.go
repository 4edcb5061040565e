package producer

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ecom-micro/etl/internal/rabbit"
)

func TestLimit(t *testing.T) {
	t.Parallel()
	unreachable := errors.New("no answer")
	for _, tt := range []struct {
		name   string
		steps  func(*limit)
		want   int
		origin string
	}{
		{"as configured", func(*limit) {}, 200, "REPLAY_MAX_QUEUE_DEPTH"},
		{"no limit of its own", func(l *limit) { l.learn(rabbit.QueueLimits{}, nil) }, 200, "REPLAY_MAX_QUEUE_DEPTH"},
		{"half of its own", func(l *limit) { l.learn(rabbit.QueueLimits{Messages: 51}, nil) }, 25, "half of its own length limit of 51"},
		{"its own is large", func(l *limit) { l.learn(rabbit.QueueLimits{Messages: 400}, nil) }, 200, "REPLAY_MAX_QUEUE_DEPTH"},
		{"its own is one", func(l *limit) { l.learn(rabbit.QueueLimits{Messages: 1}, nil) }, 1, "half of its own length limit of 1"},
		{"a loss", func(l *limit) { l.lost() }, 100, "lowered from REPLAY_MAX_QUEUE_DEPTH"},
		{"losses of one window", func(l *limit) { l.lost(); l.sent(99); l.lost() }, 100, "lowered"},
		{"losses of two windows", func(l *limit) { l.lost(); l.sent(60); l.sent(40); l.lost() }, 50, "lowered"},
		{"a loss where the limit is known", func(l *limit) { l.learn(rabbit.QueueLimits{}, nil); l.lost() }, 200, "REPLAY_MAX_QUEUE_DEPTH"},
		{"half of its own in bytes", func(l *limit) { l.learn(rabbit.QueueLimits{Bytes: 20 << 10}, nil) }, 10, "half of its own length limit of 20480 bytes"},
		{"in bytes, of large events", func(l *limit) { l.weighed(5 << 10); l.weighed(100); l.learn(rabbit.QueueLimits{Bytes: 20 << 10}, nil) }, 2, "half of its own length limit of 20480 bytes"},
		{"in bytes, of events above it", func(l *limit) { l.weighed(5 << 20); l.learn(rabbit.QueueLimits{Bytes: 20 << 10}, nil) }, 1, "half of its own length limit of 20480 bytes"},
		{"the lesser of both", func(l *limit) { l.learn(rabbit.QueueLimits{Messages: 8, Bytes: 20 << 10}, nil) }, 4, "half of its own length limit of 8"},
		{"a loss where the limit is one of bytes", func(l *limit) { l.learn(rabbit.QueueLimits{Bytes: 1 << 20}, nil); l.lost() }, 100, "lowered"},
		{"a loss where the limit cannot be read", func(l *limit) { l.learn(rabbit.QueueLimits{}, unreachable); l.lost() }, 100, "lowered"},
		{"a loss below a depth that was seen", func(l *limit) { l.seen(160); l.lost(); l.sent(100); l.lost() }, 80, "lowered"},
		{"losses that go on at half a depth that is no longer seen", func(l *limit) {
			l.seen(160)
			for _, n := range []int{100, 80, 80, 0} {
				l.lost()
				l.sent(n)
			}
		}, 40, "lowered"},
		{"losses that go on at half a depth that is seen", func(l *limit) {
			l.seen(160)
			for _, n := range []int{100, 80, 80, 0} {
				l.lost()
				l.sent(n)
				l.seen(70)
			}
		}, 80, "lowered"},
		{"a loss above a depth that was seen", func(l *limit) { l.seen(900); l.lost() }, 200, "REPLAY_MAX_QUEUE_DEPTH"},
		{"refused", func(l *limit) { l.refused() }, 100, "lowered"},
		{"refused again and again", func(l *limit) {
			for range 20 {
				l.refused()
			}
		}, 1, "lowered"},
		{"refused at a depth that was seen", func(l *limit) { l.seen(190); l.refused() }, 100, "lowered"},
		{"refused where the limit is known", func(l *limit) { l.learn(rabbit.QueueLimits{Messages: 50}, nil); l.refused() }, 12, "lowered"},
		{"its own, lower than what losses made", func(l *limit) { l.lost(); l.learn(rabbit.QueueLimits{Messages: 50}, nil) }, 25, "half of its own"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := &limit{most: 200}
			tt.steps(l)
			if n, origin := l.now(); n != tt.want || !strings.HasPrefix(origin, tt.origin) {
				t.Errorf("the limit is %d, %s; want %d, %s", n, origin, tt.want, tt.origin)
			}
		})
	}
}

func TestLimitIsAskedForAgainAfterLosses(t *testing.T) {
	t.Parallel()
	l := &limit{most: 10}
	for _, step := range []func(){func() {}, l.lost, func() { l.sent(10); l.lost() }, l.refused} {
		step()
		if !l.stale() {
			t.Error("it is not asked for")
		}
		l.learn(rabbit.QueueLimits{}, nil)
		if l.stale() {
			t.Error("it is asked for once more")
		}
	}
	if l.lost(); l.stale() {
		t.Error("it is asked for after each loss of a window")
	}
}

// Whatever happens, the limit is within its bounds, and no loss or refusal raises it.
func TestLimitProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		configured := rapid.IntRange(1, maxWindow).Draw(t, "configured")
		l := &limit{most: configured}
		length := 0
		t.Repeat(map[string]func(*rapid.T){
			"lost":    func(*rapid.T) { l.lost() },
			"refused": func(*rapid.T) { l.refused() },
			"sent":    func(t *rapid.T) { l.sent(rapid.IntRange(0, maxWindow).Draw(t, "n")) },
			"seen":    func(t *rapid.T) { l.seen(rapid.IntRange(0, maxWindow).Draw(t, "ready")) },
			"learn": func(t *rapid.T) {
				length = rapid.IntRange(0, 2*maxWindow).Draw(t, "length")
				l.learn(rabbit.QueueLimits{Messages: length}, nil)
			},
			"": func(t *rapid.T) {
				n, _ := l.now()
				if n < 1 || n > configured || length > 1 && n > length/2 {
					t.Fatalf("the limit is %d, configured %d, the queue's own %d", n, configured, length)
				}
				before := l.most
				if l.lost(); l.most > before {
					t.Fatalf("a loss raises it from %d to %d", before, l.most)
				}
			},
		})
	})
}

package profile

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/jumpget/jumpget/lab/link"
)

// Random draws a link from everything that an access link may be: 2 to
// 300 Mbit/s, 10 to 600 ms, 0 to 30 % loss, independent or in bursts of a mean
// of 2 to 40 packets, a queue of 0.1 to 10 BDP (ten packets at least), up to
// 20 ms of jitter, up to 5 % reordered, an uplink 1 to 40 times thinner, a
// policer or none. One seed gives one link, on the lab and in virtual time.
func Random(seed uint64) Profile {
	r := rand.New(rand.NewPCG(seed, 0x72616e646f6d))
	rate := spread(r, 2e6, 300e6)
	rtt := time.Duration(spread(r, 10, 600) * float64(time.Millisecond)).Round(time.Millisecond)
	down := link.Config{Rate: rate, Delay: rtt / 2}
	queue := spread(r, 0.1, 10)
	down.Queue = max(int(rate/8*rtt.Seconds()*queue), minQueue)
	if loss := 0.3 * r.Float64(); r.IntN(2) == 0 {
		down.Loss = loss
	} else {
		leave := 1 / spread(r, 2, 40)
		down.Burst = link.Burst{Enter: leave * loss / (1 - loss), Leave: leave, Lose: 1}
	}
	if r.IntN(2) == 0 {
		down.Jitter = time.Duration(20 * r.Float64() * float64(time.Millisecond))
	}
	if r.IntN(2) == 0 {
		down.Reorder = 0.05 * r.Float64()
	}
	up := link.Config{
		Rate: rate / spread(r, 1, 40), Queue: down.Queue, Delay: rtt / 2,
		Loss: down.MeanLoss() / 2, Jitter: down.Jitter,
	}
	if r.IntN(4) == 0 {
		down.Police = link.Bucket{Rate: rate * (0.2 + 0.7*r.Float64()), Depth: int(spread(r, 16e3, 256e3))}
	}
	return Profile{Name: fmt.Sprintf("random-%d", seed), Drawn: true, About: about(down, up, queue), RTT: rtt, Down: down, Up: up}
}

// spread draws a number whose logarithm is uniform.
func spread(r *rand.Rand, lo, hi float64) float64 {
	return lo * math.Pow(hi/lo, r.Float64())
}

func about(down, up link.Config, queue float64) string {
	s := fmt.Sprintf("%.1f Mbit/s, %v, loss %.1f %%, queue %.2f BDP, uplink 1/%.0f",
		down.Rate/1e6, 2*down.Delay, 100*down.MeanLoss(), queue, down.Rate/up.Rate)
	if down.Burst.Enter > 0 {
		s += fmt.Sprintf(", bursts of %.0f", 1/down.Burst.Leave)
	}
	if down.Jitter > 0 {
		s += fmt.Sprintf(", jitter %.0f ms", down.Jitter.Seconds()*1e3)
	}
	if down.Reorder > 0 {
		s += fmt.Sprintf(", reordering %.1f %%", 100*down.Reorder)
	}
	if down.Police.Rate > 0 {
		s += fmt.Sprintf(", policer %.1f Mbit/s", down.Police.Rate/1e6)
	}
	return s
}

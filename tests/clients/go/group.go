package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// member is one consumer of a group; it notes what it saw and commits what it noted.
type member struct {
	client *kgo.Client
	cancel context.CancelFunc
	done   chan struct{}
	lock   sync.Mutex
	seen   map[string]int
	owned  int
	err    error
}

func join(bootstrap, group, topic string, balancer kgo.GroupBalancer, instance string) (*member, error) {
	m := &member{done: make(chan struct{}), seen: map[string]int{}}
	change := func(sign int) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, parts map[string][]int32) {
			m.lock.Lock()
			defer m.lock.Unlock()
			m.owned += sign * len(parts[topic])
		}
	}
	options := []kgo.Opt{
		kgo.SeedBrokers(bootstrap), kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.Balancers(balancer),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.HeartbeatInterval(500 * time.Millisecond), kgo.SessionTimeout(10 * time.Second),
		kgo.OnPartitionsAssigned(change(1)), kgo.OnPartitionsRevoked(change(-1)), kgo.OnPartitionsLost(change(-1)),
	}
	if instance != "" {
		options = append(options, kgo.InstanceID(instance))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.client, m.cancel = client, cancel
	go m.run(ctx)
	return m, nil
}

func (m *member) run(ctx context.Context) {
	defer close(m.done)
	for {
		fetches := m.client.PollFetches(ctx)
		if ctx.Err() != nil {
			return
		}
		m.lock.Lock()
		fetches.EachRecord(func(record *kgo.Record) { m.seen[string(record.Value)]++ })
		err := fetches.Err()
		m.lock.Unlock()
		if err == nil && fetches.NumRecords() > 0 {
			err = m.client.CommitUncommittedOffsets(context.Background())
		}
		m.client.AllowRebalance()
		if err != nil {
			m.lock.Lock()
			m.err = errors.Join(m.err, err)
			m.lock.Unlock()
			return
		}
	}
}

// leave ends the member; a static one leaves the group too, so that the next step need not wait for its session.
func (m *member) leave() error {
	m.cancel()
	<-m.done
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	m.client.AllowRebalance()
	err := m.client.LeaveGroupContext(ctx)
	m.client.Close()
	return errors.Join(m.err, err)
}

func owned(members ...*member) (counts []int, err error) {
	for _, m := range members {
		m.lock.Lock()
		counts, err = append(counts, m.owned), errors.Join(err, m.err)
		m.lock.Unlock()
	}
	return counts, err
}

func seen(members ...*member) map[string]bool {
	all := map[string]bool{}
	for _, m := range members {
		m.lock.Lock()
		for value := range m.seen {
			all[value] = true
		}
		m.lock.Unlock()
	}
	return all
}

func until(what string, members []*member, holds func(counts []int) bool) error {
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		counts, err := owned(members...)
		if err != nil {
			return fmt.Errorf("a member failed while %s: %w", what, err)
		}
		if holds(counts) {
			return nil
		}
	}
	counts, _ := owned(members...)
	return fmt.Errorf("not in time: %s (members own %v)", what, counts)
}

func produceRange(bootstrap, topic string, from, to int) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.DefaultProduceTopic(topic))
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var records []*kgo.Record
	for n := from; n < to; n++ {
		records = append(records, kgo.KeyStringRecord(fmt.Sprint(n), fmt.Sprint(n)))
	}
	return client.ProduceSync(ctx, records...).FirstErr()
}

// group lets members come and go under each assignor.
func group(bootstrap string) (string, error) {
	balancers := []kgo.GroupBalancer{
		kgo.RangeBalancer(), kgo.RoundRobinBalancer(), kgo.StickyBalancer(), kgo.CooperativeStickyBalancer(),
	}
	for _, balancer := range balancers {
		if err := groupRun(bootstrap, balancer); err != nil {
			return "", fmt.Errorf("%s: %w", balancer.ProtocolName(), err)
		}
	}
	return "4 assignors", nil
}

func groupRun(bootstrap string, balancer kgo.GroupBalancer) error {
	topic, err := newTopic(bootstrap, "group-"+balancer.ProtocolName(), 6)
	if err != nil {
		return err
	}
	var members []*member
	enter := func(instance string) {
		if err == nil {
			var m *member
			if m, err = join(bootstrap, topic, topic, balancer, instance); err == nil {
				members = append(members, m)
			}
		}
	}
	wait := func(what string, who []*member, holds func([]int) bool) {
		if err == nil {
			err = until(what, who, holds)
		}
	}
	produce := func(from, to int) {
		if err == nil {
			err = produceRange(bootstrap, topic, from, to)
		}
	}
	leave := func(m *member) {
		if err == nil {
			err = m.leave()
		}
	}
	produce(0, 600)
	enter("")
	enter("")
	wait("two members share", members, func(n []int) bool { return n[0] == 3 && n[1] == 3 })
	enter("static-1")
	wait("three members share", members, func(n []int) bool { return n[0] == 2 && n[1] == 2 && n[2] == 2 })
	produce(600, 1200)
	wait("three members see all", members, func([]int) bool { return len(seen(members...)) == 1200 })
	if err != nil {
		return err
	}
	leave(members[0])
	wait("two are left with all", members[1:], func(n []int) bool { return n[0]+n[1] == 6 })
	produce(1200, 1500)
	wait("two members see all", members[1:], func([]int) bool { return len(seen(members...)) == 1500 })
	leave(members[1])
	leave(members[2])
	produce(1500, 1560)
	enter("static-1")
	if err != nil {
		return err
	}
	next := members[3]
	wait("the next member sees what is new", members[3:], func([]int) bool {
		all := seen(next)
		return len(all) >= 60 && all["1559"] && all["1500"]
	})
	leave(next)
	if count := len(seen(next)); err == nil && count != 60 {
		return fmt.Errorf("a resumed group saw %d records instead of 60: offsets were lost", count)
	}
	return err
}

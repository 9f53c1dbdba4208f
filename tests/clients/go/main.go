// Command client runs franz-go against one broker: client <bootstrap> <scenario>.
// See ../README.md for the contract; scenarios live in files of their own.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	partitions = 3
	limit      = 60 * time.Second
)

func main() {
	scenarios := map[string]func(string) (string, error){
		"roundtrip":    roundtrip,
		"idempotent":   idempotent,
		"group":        group,
		"survive":      survive,
		"transactions": transactions,
	}
	if len(os.Args) != 3 || scenarios[os.Args[2]] == nil {
		fmt.Println("FAIL usage: client <bootstrap> roundtrip|idempotent|group|survive|transactions")
		os.Exit(2)
	}
	done, err := scenarios[os.Args[2]](os.Args[1])
	if err != nil {
		fmt.Println("FAIL", strings.ReplaceAll(err.Error(), "\n", " "))
		os.Exit(1)
	}
	fmt.Println("OK", done)
}

// newTopic creates a topic whose name no other run has used.
func newTopic(bootstrap, name string, count int32) (string, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap))
	if err != nil {
		return "", err
	}
	defer client.Close()
	name = fmt.Sprintf("go-%s-%d", name, time.Now().UnixMilli())
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	answer, err := kadm.NewClient(client).CreateTopic(ctx, count, 1, nil, name)
	if err != nil {
		return "", fmt.Errorf("create %s: %w", name, err)
	}
	if answer.NumPartitions != count {
		return "", fmt.Errorf("%s has %d partitions instead of %d", name, answer.NumPartitions, count)
	}
	return name, nil
}

// readAll returns each partition's records from its start to its end as of now.
func readAll(bootstrap, topic string, more ...kgo.Opt) (map[int32][]*kgo.Record, error) {
	options := []kgo.Opt{
		kgo.SeedBrokers(bootstrap),
		kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.KeepControlRecords(),
	}
	client, err := kgo.NewClient(append(options, more...)...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	missing := map[int32]bool{}
	ends.Each(func(end kadm.ListedOffset) {
		if end.Offset > 0 {
			missing[end.Partition] = true
		}
	})
	held := map[int32][]*kgo.Record{}
	for len(missing) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("reading %s: %w", topic, err)
		}
		fetches.EachRecord(func(record *kgo.Record) {
			if !record.Attrs.IsControl() {
				held[record.Partition] = append(held[record.Partition], record)
			}
			if end, _ := ends.Lookup(topic, record.Partition); record.Offset+1 >= end.Offset {
				delete(missing, record.Partition)
			}
		})
	}
	return held, nil
}

// sender produces and remembers what was acknowledged.
type sender struct {
	client *kgo.Client
	topic  string
	sent   [partitions]int
	acks   chan ack
	acked  map[string]int64
	failed error
}

type ack struct {
	record *kgo.Record
	err    error
}

func newSender(bootstrap, topic string) (*sender, error) {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(bootstrap),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchMaxBytes(4000),
		kgo.RecordDeliveryTimeout(2*limit),
	)
	if err != nil {
		return nil, err
	}
	return &sender{client: client, topic: topic, acks: make(chan ack, 1<<20), acked: map[string]int64{}}, nil
}

func (s *sender) send(partition int32) {
	value := fmt.Sprintf("%d/%d", partition, s.sent[partition])
	s.sent[partition]++
	record := &kgo.Record{Topic: s.topic, Partition: partition, Value: []byte(value)}
	s.client.Produce(context.Background(), record, func(record *kgo.Record, err error) { s.acks <- ack{record, err} })
}

// take notes the acknowledgements that have come in.
func (s *sender) take() {
	for {
		select {
		case one := <-s.acks:
			if one.err != nil {
				s.failed = errors.Join(s.failed, fmt.Errorf("%s: %w", one.record.Value, one.err))
			} else {
				s.acked[string(one.record.Value)] = one.record.Offset
			}
		default:
			return
		}
	}
}

// finish waits for everything in flight and checks that the broker holds exactly what was sent.
func (s *sender) finish(bootstrap string) (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*limit)
	defer cancel()
	err := s.client.Flush(ctx)
	s.take()
	s.client.Close()
	if err != nil || s.failed != nil {
		return 0, fmt.Errorf("not everything was delivered: %w", errors.Join(err, s.failed))
	}
	held, err := readAll(bootstrap, s.topic)
	if err != nil {
		return 0, err
	}
	total := 0
	for partition, sent := range s.sent {
		rows := held[int32(partition)]
		if len(rows) != sent {
			return 0, fmt.Errorf("partition %d holds %d records, sent were %d", partition, len(rows), sent)
		}
		for n, record := range rows {
			if wanted := fmt.Sprintf("%d/%d", partition, n); string(record.Value) != wanted {
				return 0, fmt.Errorf("%s stands where %s should", record.Value, wanted)
			}
			if offset, ok := s.acked[string(record.Value)]; !ok || offset != record.Offset {
				return 0, fmt.Errorf("%s is at %d, acknowledged at %d", record.Value, record.Offset, offset)
			}
		}
		total += sent
	}
	return total, nil
}

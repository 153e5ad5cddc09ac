package parking;

/** What the rule needs of a detection, and the no-parking zones around it. */
public class Sighting {
    public String track;
    public long ts;
    public double speed;
    public int[] zones;
}

package parking;

/** A track standing in one zone. */
public class Stay {
    public long since;
    public boolean told;
}
